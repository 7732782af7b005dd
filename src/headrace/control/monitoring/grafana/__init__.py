"""Grafana dashboards: their panels as tables of queries, and the JSON that Grafana imports."""
