"""Chat messages to prompts: Jinja templates, within limits of time and memory."""
