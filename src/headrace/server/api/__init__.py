"""The endpoints of OpenAI's API, and the schemas of their bodies."""
