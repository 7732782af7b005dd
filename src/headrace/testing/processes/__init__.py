"""Real processes and control planes of Headrace, started and stopped by a test."""
