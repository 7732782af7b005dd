"""The paged KV cache's book-keeping: which block belongs to whom. Knows no tensors."""
