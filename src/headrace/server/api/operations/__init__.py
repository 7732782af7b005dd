"""Endpoints for operators: health, load, metrics, caches and the server's configuration."""
