"""The list of services, and the pages of one service."""
