"""A model's output as events: content, reasoning and tool calls, streaming."""
