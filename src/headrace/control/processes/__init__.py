"""Process groups of this machine: start, identity, signals, ports, resource usage, HTTP."""
