"""From tokens to output: detokenizing, stop strings, streams."""
