"""Rollouts, the route table and the connection to the gateway."""
