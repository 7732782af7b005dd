"""Neural nets: configuration, weights, layers and attention over the paged cache."""
