"""What is worked out from records: every figure, defined once."""
