"""The charts of a report, a module for each kind."""
