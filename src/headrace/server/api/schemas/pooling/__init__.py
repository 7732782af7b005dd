"""Schemas of requests for vectors and of their responses."""
