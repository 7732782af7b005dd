"""Chat completions: the endpoint and its prompt."""
