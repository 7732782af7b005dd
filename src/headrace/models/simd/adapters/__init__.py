"""Kernels of what adapters add to the products of a layer."""
