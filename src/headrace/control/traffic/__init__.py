"""Where traffic flows, and the gateway that it flows through."""
