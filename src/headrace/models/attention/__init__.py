"""Attention over the paged cache: one protocol, a CPU and a CUDA backend, a plain reference."""
