"""Several models behind one server: which are loaded, and which request uses which."""
