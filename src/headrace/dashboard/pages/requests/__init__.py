"""The last requests through the gateway, and the way of one of them."""
