"""`headrace up`: starts, supervises and stops the control plane and the gateway."""
