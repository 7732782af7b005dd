"""``headrace bench``: its commands, each in a file of its own."""

import typer

from headrace.cli.bench.compare import compare
from headrace.cli.bench.experiment import experiment
from headrace.cli.bench.latency import latency
from headrace.cli.bench.load import load
from headrace.cli.bench.options import SeveralValues
from headrace.cli.bench.prepare import prepare
from headrace.cli.bench.report import report
from headrace.cli.bench.serve import serve
from headrace.cli.bench.sweep import sweep
from headrace.cli.bench.throughput import throughput
from headrace.cli.options import NORMALIZE

app = typer.Typer(
    name="bench",
    help="Measure servers: load, latency, comparison, pictures.",
    no_args_is_help=True,
    add_completion=False,
)
for _command in (serve, load, sweep, compare):
    app.command(cls=SeveralValues, context_settings=NORMALIZE)(_command)
for _command in (throughput, latency, prepare, experiment, report):
    app.command(context_settings=NORMALIZE)(_command)
