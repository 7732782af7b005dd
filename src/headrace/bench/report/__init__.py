"""The HTML report: charts, tables and explanations."""
