"""Key names and shapes of files that were written for other platforms or older versions."""
