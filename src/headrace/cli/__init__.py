"""The headrace command: one file a command group; parses, calls one function."""
