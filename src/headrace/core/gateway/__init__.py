"""The formats that gateway and control plane exchange."""
