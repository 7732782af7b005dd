"""Imports and exports of replicas and runs, and the artifact store."""
