"""The engine core's own process, and the way to it and back."""
