"""When requests are sent, and whether the client keeps up."""
