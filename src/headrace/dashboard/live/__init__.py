"""Parts of pages that the server keeps current with server-sent events."""
