"""Decides, step by step, which requests compute how many tokens. Knows no tensors."""
