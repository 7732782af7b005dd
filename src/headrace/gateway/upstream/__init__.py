"""The replicas' side: connections, kept and probed."""
