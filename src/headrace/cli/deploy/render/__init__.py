"""How the deploy commands print resources, history and requests."""
