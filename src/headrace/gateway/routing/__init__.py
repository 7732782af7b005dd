"""Every decision: whose a request is, where it goes, whether it is tried again. No I/O."""
