"""The naive server: transformers behind FastAPI, as the baseline of measurements."""
