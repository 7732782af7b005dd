"""Ways to run a command so that it outlives the control plane."""
