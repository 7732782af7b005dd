"""The control plane: services, revisions, replicas and runs, from desired to actual."""
