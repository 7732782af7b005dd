"""Grouped bar charts with whiskers, one bar per server in each group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headrace.bench.report.charts.style import INK, Colours
from headrace.bench.report.units import short

GROUP_WIDTH = 0.78
"""Share of the distance between two groups that bars fill."""


@dataclass(frozen=True, slots=True)
class Bar:
    value: float
    low: float
    """Lower end of its whisker."""
    high: float
    """Upper end of its whisker."""

    @classmethod
    def plain(cls, value: float) -> "Bar":
        """Without a whisker."""
        return cls(value, value, value)

    def scaled(self, factor: float) -> "Bar":
        return Bar(self.value * factor, self.low * factor, self.high * factor)


Bars = Mapping[str, Sequence[Bar | None]]
"""By server; one entry per group, None if not measured."""


def draw_bars(axes: Axes, groups: Sequence[str], bars: Bars, colours: Colours) -> None:
    """The axis starts at zero; each bar is labelled above its whisker."""
    width = GROUP_WIDTH / max(1, len(bars))
    tallest = max((bar.high for row in bars.values() for bar in row if bar is not None), default=1)
    for number, (server, row) in enumerate(bars.items()):
        for group, bar in enumerate(row):
            if bar is None:
                continue
            middle = group + (number - (len(bars) - 1) / 2) * width
            axes.bar(
                middle,
                bar.value,
                width * 0.92,
                color=colours.fill(server),
                hatch=colours.hatch(server),
                edgecolor=INK,
                linewidth=0.6,
            )
            if bar.high > bar.low:
                axes.vlines(middle, bar.low, bar.high, colors=INK, linewidth=1.1)
            axes.text(
                middle,
                max(bar.value, bar.high) + tallest * 0.015,
                short(bar.value),
                ha="center",
                va="bottom",
                fontsize=8,
            )
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    top = tallest * 1.14 or 1.0
    shares_axis = len(axes.get_shared_y_axes().get_siblings(axes)) > 1
    axes.set_ylim(0, max(top, axes.get_ylim()[1]) if shares_axis else top)
    axes.tick_params(axis="x", length=0)


def draw_legend(figure: Figure, servers: Sequence[str], colours: Colours) -> None:
    """Above the panels."""
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=colours.fill(server),
            hatch=colours.hatch(server),
            edgecolor=INK,
            linewidth=0.6,
            label=server,
        )
        for server in servers
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=max(1, min(6, len(handles))))
