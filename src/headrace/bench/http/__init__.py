"""The HTTP client of the bench: sends requests, and fills records from the responses."""
