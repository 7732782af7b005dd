"""The words every other package shares. No I/O, no torch, no asyncio."""
