"""Metrics of revisions over time: sampled, stored in a ring, read as aligned series."""
