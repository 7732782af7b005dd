"""Paired ratios of a comparison, with their intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from headrace.bench.figures.pairing import COMPARED, PairedRatio
from headrace.bench.report.charts.style import INK, Colours, new_figure, panels
from headrace.bench.report.collection import Entry
from headrace.bench.report.elements import Chart, Table
from headrace.bench.report.units import NOTHING, short

_TICKS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""And their reciprocals."""
_FEW_TICKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""For ranges in which _TICKS would overlap."""


def comparison_chart(entry: Entry, colours: Colours, name: str) -> Chart | None:
    """One panel per target but the first; None if the file has no comparison."""
    ratios = entry.result.comparison
    if not ratios:
        return None
    targets = list(dict.fromkeys(ratio.target for ratio in ratios))
    most = max(sum(ratio.target == target for ratio in ratios) for target in targets)
    figure = new_figure(max(6.4, 4.8 * len(targets)), 1.1 + 0.36 * most)
    for axes, target in zip(panels(figure, 1, len(targets)), targets, strict=True):
        chosen = [ratio for ratio in ratios if ratio.target == target]
        _draw(axes, chosen, colours.fill(target))
        axes.set_title(f"{target} / {chosen[0].base}")
    return Chart(
        f"{name}-comparison",
        f"{entry.name}: {', '.join(targets)} against {ratios[0].base}",
        [
            f"Each row is the ratio of a figure to that of {ratios[0].base} within a round, on the "
            "same prompts. The large dot is the median, small dots are the rounds, and the "
            "line is the 95 % interval of the median (the range, with fewer than six rounds). The "
            "axis is logarithmic. If the line crosses 1, the difference is not significant.",
            *_says(ratios),
        ],
        figure,
        _table(ratios),
    )


def _draw(axes: Axes, ratios: Sequence[PairedRatio], colour: str) -> None:
    for place, ratio in enumerate(ratios):
        low = ratio.min if ratio.low is None else ratio.low
        high = ratio.max if ratio.high is None else ratio.high
        axes.hlines(place, low, high, colors=colour, linewidth=3)
        axes.plot(ratio.rounds, [place] * len(ratio.rounds), ".", color=INK, alpha=0.45, ms=4)
        axes.plot([ratio.median], [place], "o", color=colour, markeredgecolor=INK, ms=8)
    labels = [
        f"{COMPARED[ratio.figure].label} ({'more' if ratio.is_higher_better else 'less'} is better)"
        for ratio in ratios
    ]
    axes.set_yticks(range(len(ratios)), labels)
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    axes.axvline(1.0, color=INK, linewidth=1.2)
    axes.set_xscale("log")
    lowest = min(min(ratio.rounds) for ratio in ratios)
    highest = max(max(ratio.rounds) for ratio in ratios)
    left, right = min(lowest, 1 / 1.25) / 1.08, max(highest, 1.25) * 1.08
    ticks = _TICKS if right / left < 4 else _FEW_TICKS
    axes.set_xlim(left, right)
    axes.set_xticks(
        [tick for tick in sorted({*ticks, *(1 / tick for tick in ticks)}) if left <= tick <= right]
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick_label(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.set_xlabel(f"ratio to {ratios[0].base}, logarithmic")


def _tick_label(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"


def _says(ratios: Sequence[PairedRatio]) -> list[str]:
    said = []
    for ratio in ratios:
        if ratio.figure not in ("output_tokens_per_s", "latency_s_p50"):
            continue
        said.append(
            f"{ratio.target}, {COMPARED[ratio.figure].label}: {short(ratio.median)} times that of "
            f"{ratio.base} ({ratio.verdict})."
        )
    return said


def _table(ratios: Sequence[PairedRatio]) -> Table:
    rows = []
    for ratio in ratios:
        interval = NOTHING
        if ratio.low is not None and ratio.high is not None:
            interval = f"{ratio.low:.3f} to {ratio.high:.3f}"
        rows.append(
            [
                COMPARED[ratio.figure].label,
                ratio.target,
                f"{ratio.median:.3f}",
                f"{ratio.min:.3f}",
                f"{ratio.max:.3f}",
                interval,
                str(len(ratio.rounds)),
                ratio.verdict,
            ]
        )
    header = [f"ratio to {ratios[0].base}", "target", "median", "min", "max", "95 % interval"]
    return Table([*header, "rounds", "verdict"], rows)
