"""The commands that deploy: the platform, services, revisions, gateways and runs."""
