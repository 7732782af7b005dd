"""Process groups of this machine: start, identity, signals, ports and resource usage."""
