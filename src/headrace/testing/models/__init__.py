"""Tiny models of random weights in every format that Headrace reads."""
