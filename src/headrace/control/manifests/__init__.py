"""Manifests: the YAML files of revisions, gateways and runs."""
