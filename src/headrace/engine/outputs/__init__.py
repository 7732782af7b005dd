"""Tokens to what a caller awaits: text, stop strings, streams."""
