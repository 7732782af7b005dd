"""Models that are computed by transformers' own modeling code."""
