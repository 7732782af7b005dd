"""`headrace serve`: its command, its output, and options of vLLM's that it does not have."""
