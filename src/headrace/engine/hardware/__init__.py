"""Detects and chooses CPUs, memory and devices."""
