"""From YAML text to a validated model, with the line of every problem."""
