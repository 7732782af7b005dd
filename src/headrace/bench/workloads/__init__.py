"""Workloads: data sets, traces, and random prompts."""
