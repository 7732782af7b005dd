"""Draws a replay: the load, and for each signal the replicas and the queueing times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

_REPLICAS = "#4c78a8"
_STARTING = "#c9d8ea"
_QUEUE = "#d1495b"
_LOAD = "#7a7a7a"
_BIN_S = 30.0


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """One run of the trace."""

    name: str
    """Of the signal, or of the fixed number."""
    target: str
    times_s: Sequence[float]
    num_desired: Sequence[int]
    num_ready: Sequence[int]
    arrivals_s: Sequence[float]
    queue_times_s: Sequence[float]
    """By request, in the order of arrivals."""
    ttfts_s: Sequence[float]
    replica_hours: float
    num_changes: int

    def queue_time(self, percent: float) -> float:
        return float(np.percentile(self.queue_times_s, percent))

    def ttft(self, percent: float) -> float:
        return float(np.percentile(self.ttfts_s, percent))


def draw(results: Sequence[ReplayResult], title: str, path: Path) -> None:
    num_rows = len(results) + 1
    figure, axes = plt.subplots(
        num_rows,
        2,
        figsize=(13, 1.45 * num_rows + 0.8),
        sharex=True,
        width_ratios=[1, 1],
        layout="constrained",
    )
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    _draw_load(axes[0][0], results[0])
    _draw_key(axes[0][1])
    most = max(max(result.num_desired) for result in results)
    longest_s = max(np.nanmax(_by_bin(result, 99)[1]) for result in results)
    for row, result in zip(axes[1:], results, strict=True):
        _draw_replicas(row[0], result, most)
        _draw_queue(row[1], result, longest_s)
    for axis in axes[-1]:
        axis.set_xlabel("minutes")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_load(axis: Axes, result: ReplayResult) -> None:
    edges = np.arange(0.0, max(result.arrivals_s) + _BIN_S, _BIN_S)
    counts, _ = np.histogram(result.arrivals_s, bins=edges)
    axis.fill_between(edges[:-1] / 60, counts / _BIN_S, step="post", color=_LOAD, alpha=0.5)
    axis.set_ylim(bottom=0)
    axis.set_title("load: requests/s", loc="left", fontsize=9)
    _tidy(axis)


def _draw_key(axis: Axes) -> None:
    axis.axis("off")
    axis.fill_between([], [], color=_REPLICAS, label="left: replicas that are ready")
    axis.fill_between([], [], color=_STARTING, label="left: wanted, still starting")
    axis.plot([], [], color=_QUEUE, label="right: queue time, 99th percentile of each 30 s")
    axis.plot([], [], color=_QUEUE, alpha=0.4, ls=":", label="right: its median")
    axis.legend(loc="center left", frameon=False, fontsize=9)


def _draw_replicas(axis: Axes, result: ReplayResult, most: int) -> None:
    minutes = np.array(result.times_s) / 60
    desired, ready = np.array(result.num_desired), np.array(result.num_ready)
    axis.fill_between(minutes, np.maximum(desired, ready), step="post", color=_STARTING)
    axis.fill_between(minutes, ready, step="post", color=_REPLICAS)
    axis.set_ylim(0, most + 0.5)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axis.set_title(f"{result.name}{result.target}", loc="left", fontsize=9, fontweight="bold")
    changes = "1 change" if result.num_changes == 1 else f"{result.num_changes} changes"
    axis.set_title(f"{result.replica_hours:.2f} replica-hours, {changes}", loc="right", fontsize=9)
    _tidy(axis)


def _draw_queue(axis: Axes, result: ReplayResult, longest_s: float) -> None:
    minutes, p99 = _by_bin(result, 99)
    _, p50 = _by_bin(result, 50)
    axis.plot(minutes, p50, color=_QUEUE, alpha=0.4, ls=":", lw=1.2)
    axis.plot(minutes, p99, color=_QUEUE, lw=1.2, marker=".", ms=3)  # a dot for lonely bins
    axis.set_yscale("symlog", linthresh=1.0, linscale=0.6)
    axis.set_ylim(0, longest_s * 1.6)
    ticks = [tick for tick in (0, 1, 10, 100, 1000) if tick <= longest_s * 1.6]
    axis.set_yticks(ticks, [f"{tick} s" for tick in ticks])
    axis.minorticks_off()
    axis.set_title(
        f"queue time p50 {result.queue_time(50):.2f} s, p99 {result.queue_time(99):.1f} s",
        loc="right",
        fontsize=9,
    )
    _tidy(axis)


def _by_bin(result: ReplayResult, percent: float) -> tuple[np.ndarray, np.ndarray]:
    """Minutes, and the percentile of what arrived in each bin; a gap where nothing did."""
    arrivals, queue_times = np.array(result.arrivals_s), np.array(result.queue_times_s)
    bins = (arrivals // _BIN_S).astype(int)
    values = np.full(bins.max() + 1, np.nan)
    for index in np.unique(bins):
        values[index] = np.percentile(queue_times[bins == index], percent)
    return (np.arange(len(values)) + 0.5) * _BIN_S / 60, values


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", alpha=0.25)
