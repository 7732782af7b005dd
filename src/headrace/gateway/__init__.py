"""The gateway: splits traffic between revisions by weight, and balances and retries requests."""
