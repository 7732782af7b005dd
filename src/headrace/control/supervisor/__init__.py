"""The platform on this machine: its control plane and its gateway, started, watched, stopped."""
