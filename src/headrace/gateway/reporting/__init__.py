"""Statistics, metrics and the admin port."""
