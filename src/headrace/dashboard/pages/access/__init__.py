"""API keys, secrets and tokens."""
