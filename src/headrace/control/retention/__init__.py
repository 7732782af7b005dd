"""What the control plane forgets, so that it can run for years: when, and how."""
