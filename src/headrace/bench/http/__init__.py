"""The measuring client: requests out, answers into records."""
