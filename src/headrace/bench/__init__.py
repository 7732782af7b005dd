"""Measuring servers that speak the OpenAI API: load, latency, comparison, pictures."""
