"""Memory of processes and GPUs over time."""
