"""Garbage collection of old replicas, events, folders and logs."""
