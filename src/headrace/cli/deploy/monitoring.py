"""``headrace monitoring``: files for Prometheus and Grafana."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.errors import report_errors

DEFAULT_PROMETHEUS_URL = "http://127.0.0.1:9090"

app = typer.Typer(
    no_args_is_help=True, help="Prometheus configuration, alert rules and Grafana dashboards."
)


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Created if it does not exist.")],
    prometheus_url: Annotated[
        str,
        typer.Option(metavar="URL", help="Address of Prometheus for Grafana."),
    ] = DEFAULT_PROMETHEUS_URL,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were changed.")
    ] = False,
) -> None:
    """Write configuration for Prometheus and Grafana that follows this platform.

    Prometheus discovers the gateway, the control plane and all replicas from files that the
    control plane keeps current.
    """
    from headrace.control.layout import Layout
    from headrace.control.monitoring.export import export as write
    from headrace.core.home import headrace_home

    with report_errors():
        layout = Layout(headrace_home().absolute())
        for path in write(folder, layout, prometheus_url, overwrite=overwrite):
            print(path)
    print(f"Next: see {folder / 'README.md'}")
