"""Runs: jobs that are started once, with their folders fetched before and kept after."""
