"""Logits to tokens: who draws how, and with which numbers."""
