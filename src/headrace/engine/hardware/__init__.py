"""What this machine has to compute with: processors, memory, devices."""
