"""The HTTP/1.1 client core of the gateway and of the bench."""
