"""``headrace bench report``: results as one HTML page, and its pictures as PNG.

Parses, and calls bench.report.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.bench.running import reporting


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="Folders with results, or result files (JSON).",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    png: Annotated[
        Path | None,
        typer.Option(help="Also write each picture as PNG to this folder.", show_default=False),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's heading.")] = "Headrace bench report",
) -> None:
    """Draw results as one page, with tables and what each picture means."""
    with reporting():
        # Imported here, as matplotlib takes a second.
        from headrace.bench.errors import ResultFileError
        from headrace.bench.report.collection import collect
        from headrace.bench.report.page import build, render, write_pngs

        collection = collect(results)
        page = build(collection, title)
        html = render(page, datetime.now().astimezone())
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(html, encoding="utf-8")
        except OSError as error:
            raise ResultFileError(f"Cannot write {output}: {error.strerror}.") from error
        print(
            f"Wrote {output}: {len(page.pictures)} pictures of {len(collection.entries)} results."
        )
        if png is not None:
            print(f"Wrote {len(write_pngs(page, png))} PNG files to {png}.")
        for doubt in page.doubts:
            print(f"Note: {doubt}")
