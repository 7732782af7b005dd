"""The NVIDIA GPUs of this machine, and who gets which."""
