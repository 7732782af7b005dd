"""``headrace bench``: one module per command."""

import typer

from headrace.cli.bench.compare import compare
from headrace.cli.bench.experiment import experiment
from headrace.cli.bench.load import load
from headrace.cli.bench.offline import latency, throughput
from headrace.cli.bench.options import MultiValueCommand
from headrace.cli.bench.prepare import prepare
from headrace.cli.bench.report import report
from headrace.cli.bench.serve import serve
from headrace.cli.bench.sweep import sweep
from headrace.cli.options import NORMALIZE

app = typer.Typer(
    name="bench",
    help="Benchmark servers: load tests, latency, comparisons, reports.",
    no_args_is_help=True,
    add_completion=False,
)
for _command in (serve, load, sweep, compare):
    app.command(cls=MultiValueCommand, context_settings=NORMALIZE)(_command)
for _command in (throughput, latency, prepare, experiment, report):
    app.command(context_settings=NORMALIZE)(_command)
