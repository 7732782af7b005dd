"""Replicas: what is decided about them, and how it is done."""
