"""One file a kind of resource: reads the request, calls one operation, shows the result."""
