"""The figures of measurements, each defined once."""
