"""Execution of one step: input arrays, decoder, sampling."""
