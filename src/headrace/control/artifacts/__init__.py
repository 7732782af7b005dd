"""Folders that commands are given before they start, and that are kept when they have ended."""
