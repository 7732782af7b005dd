"""The gateway: one process that splits traffic by weight and loses none of it."""
