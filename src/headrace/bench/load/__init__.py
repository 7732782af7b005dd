"""When what is sent, and whether the client kept up with it."""
