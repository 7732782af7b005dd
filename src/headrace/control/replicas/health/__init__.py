"""Whether replicas run, answer and work."""
