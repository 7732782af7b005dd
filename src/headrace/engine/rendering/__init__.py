"""Chat messages to prompts: Jinja templates, run within bounds of time and memory."""
