"""Connections to replicas, and probes."""
