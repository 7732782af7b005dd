"""The metrics of a service's revisions over time."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from headrace.control.history.block import Block, decode_block
from headrace.control.history.series import Period, Series, Window, series_of, window_of
from headrace.control.operations.finding import find_revision, find_service
from headrace.control.store.store import Store

MAX_NUM_REVISIONS = 20
"""Of one answer."""


@dataclass(frozen=True, slots=True)
class ServiceHistory:
    """Aligned series: each value belongs to the step of the window with the same index."""

    service: str
    period: Period
    window: Window
    revisions: Mapping[int, Series]
    """By number, in that order. Those with samples in the window, or the one that was asked for."""


def read_history(
    store: Store,
    service: str,
    period: Period,
    ends_at: datetime,
    revision: int | None = None,
) -> ServiceHistory:
    """The period before ``ends_at``: of one revision, or of the newest `MAX_NUM_REVISIONS`."""
    window = window_of(period, ends_at.timestamp())
    resolution = window.resolution
    first = resolution.block_begin(window.begins_at)
    with store.read() as queries:
        if revision is None:
            find_service(queries, service)
            numbers = queries.history.numbers(
                service, resolution.step_s, first, window.ends_at, MAX_NUM_REVISIONS
            )
        else:
            find_revision(queries, service, revision)
            numbers = [revision]
        stored = queries.history.blocks(service, resolution.step_s, first, window.ends_at, numbers)
    blocks: dict[int, list[Block]] = defaultdict(list)
    for one in stored:
        blocks[one.key.number].append(decode_block(resolution, one.begins_at, one.samples))
    return ServiceHistory(
        service=service,
        period=period,
        window=window,
        revisions={number: series_of(blocks[number], window) for number in numbers},
    )
