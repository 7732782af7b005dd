"""The engine core in a process of its own, and the connection to it."""
