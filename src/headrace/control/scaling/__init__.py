"""How many replicas a revision gets."""
