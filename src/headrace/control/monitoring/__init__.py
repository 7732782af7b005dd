"""Monitoring: the control plane's metrics, Prometheus' targets and rules, Grafana's dashboards."""
