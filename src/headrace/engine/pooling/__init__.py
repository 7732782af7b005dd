"""Vectors in place of text: which task a model is served for, and how its vectors are computed."""
