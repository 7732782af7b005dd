"""``headrace bench report``: results as one HTML page, and its charts as PNG."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.bench.command import bench_command


@bench_command
def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="Result files (JSON), or folders of them.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path(
        "report.html"
    ),
    png: Annotated[
        Path | None,
        typer.Option(help="Folder for the charts as PNG files.", show_default=False),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Headrace bench report",
) -> None:
    """Draw results as one HTML page of charts, tables and explanations."""
    # Imported here, as matplotlib takes a second.
    from headrace.bench.report.collection import collect
    from headrace.bench.report.page import build, render, write_pngs
    from headrace.bench.results.destination import check_can_be_written, check_can_hold_files
    from headrace.bench.results.output_file import write_text

    check_can_be_written(output)
    if png is not None:
        check_can_hold_files(png)
    collection = collect(results)
    page = build(collection, title)
    write_text(output, render(page, datetime.now().astimezone()))
    print(f"Wrote {output}: {len(page.charts)} charts of {len(collection.entries)} results.")
    if png is not None:
        print(f"Wrote {len(write_pngs(page, png))} PNG files to {png}.")
    for caveat in page.caveats:
        print(f"Note: {caveat}")
