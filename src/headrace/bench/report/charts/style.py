"""The style of charts: colours per server, and rendering as SVG and PNG."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2329"
"""Text, axes and outlines. In SVG it becomes currentColor, which suits dark pages too."""

PALETTE = ("#3b8bd0", "#e08a00", "#0b9e77", "#cc6aa0", "#d5582a", "#8a7fd6", "#7f8790")
"""After Okabe and Ito's colours for all kinds of colour vision (jfly.uni-koeln.de/color, 2008),
adjusted for contrast with white and near-black. Further servers reuse them with another hatch."""
HATCHES = ("", "///", "...", "xxx")

MIN_SCALE = 0.65
"""Minimum scale on a narrow page; below it, the chart scrolls."""

PINNED = {"headrace": 0, "baseline": 1, "vllm": 2, "llamacpp": 3}
"""Servers with a fixed colour."""

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": INK,
    "grid.alpha": 0.16,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "patch.edgecolor": INK,
    "hatch.color": INK,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "savefig.dpi": 160,
}


class Colours:
    """The colour and hatch of each server, the same in all charts of a page."""

    def __init__(self, servers: Sequence[str]) -> None:
        taken = {PINNED[server] for server in servers if server in PINNED}
        unpinned = [slot for slot in range(len(PALETTE)) if slot not in PINNED.values()]
        free = [*unpinned, *(slot for slot in PINNED.values() if slot not in taken)]
        free += range(len(PALETTE), len(PALETTE) * len(HATCHES))
        others = sorted(set(servers) - set(PINNED))
        self._slots = {name: PINNED[name] for name in servers if name in PINNED}
        self._slots |= {name: free[place % len(free)] for place, name in enumerate(others)}

    def fill(self, server: str) -> str:
        return PALETTE[self._slots[server] % len(PALETTE)]

    def hatch(self, server: str) -> str:
        return HATCHES[self._slots[server] // len(PALETTE) % len(HATCHES)]


@contextmanager
def applied() -> Iterator[None]:
    """Apply the style to figures that are drawn or saved within the block."""
    with mpl.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """In inches; a page is about ten wide."""
    return Figure(figsize=(width, height))


def panels(figure: Figure, num_rows: int, num_columns: int, share_y: bool = False) -> list[Axes]:
    """Row by row."""
    axes = figure.subplots(num_rows, num_columns, squeeze=False, sharey=share_y)
    return [axis for row in axes for axis in row]


def to_svg(figure: Figure, name: str, title: str) -> str:
    """An <svg> element with ids that are unique in the page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    text = text.replace(INK, "currentColor")
    # The size becomes a maximum: it shrinks with the page while text stays legible.
    size = re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)
    width = float(size[1]) * 96 / 72 if size else 0.0
    limits = f"max-width:{width:.0f}px;min-width:{width * MIN_SCALE:.0f}px" if size else ""
    text = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", text, count=1)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}" style="{limits}"', 1).strip()


def to_png(figure: Figure) -> bytes:
    """With a white background."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
