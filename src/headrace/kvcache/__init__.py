"""Accounting of the paged KV cache: which request holds which block. No tensors."""
