"""A folder of results as one HTML page: charts, tables beside them, and what they mean."""
