"""The naive server: what people write first, and what the engine is measured against."""
