"""Read models from files: configuration, weights and dequantization, for each format."""
