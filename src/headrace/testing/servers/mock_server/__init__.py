"""A very fast stand-in for a model server, which speaks enough of the OpenAI API to be a replica.

``python -m headrace.testing.servers.mock_server --port 8000`` starts one. It has no model: its
tokens are words of a fixed text, at a configured rate.
"""
