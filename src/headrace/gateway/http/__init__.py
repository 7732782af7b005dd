"""HTTP/1.1 as bytes: requests parsed, responses written."""
