"""A chat with a service's model."""
