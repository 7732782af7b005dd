"""Decides, step by step, which requests compute how many tokens. No tensors."""
