"""The YAML files of revisions, gateways and runs."""
