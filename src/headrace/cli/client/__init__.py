"""Commands that use a model server: one that runs, or one that they start for their own time."""
