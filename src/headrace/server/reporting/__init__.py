"""What the server reports of its requests: metrics, log lines, trace spans."""
