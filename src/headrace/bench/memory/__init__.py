"""Memory over time: of processes, of GPUs."""
