"""A folder of results as one HTML page: pictures, tables beside them, and what they mean."""
