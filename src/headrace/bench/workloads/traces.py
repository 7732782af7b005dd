"""Traces of production traffic: arrival times and lengths, with synthetic prompts.

Azure's (Patel et al., "Splitwise", ISCA 2024) are CSV with times and lengths. Mooncake's (Qin et
al., FAST 2025) are JSONL and have the ids of the 512-token blocks of each prompt: equal ids become
equal tokens, so that prefix caches have the hits of the original traffic.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import plan_prompt
from headrace.bench.workloads.prompt_maker import Piece, PromptMaker
from headrace.bench.workloads.row_selection import first_of
from headrace.bench.workloads.rows import MAX_LEN, Row, read_csv_rows, read_json_lines

BLOCK_LEN = 512
"""Tokens per block of a Mooncake trace."""


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """One row of a trace."""

    time_s: float
    """By the clock of the trace."""
    input_len: int
    output_len: int
    block_ids: tuple[int, ...] = ()
    """Blocks of the prompt, the last one possibly partial; empty if the trace has none."""


def load_azure(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """The first ``num_prompts`` requests of an Azure LLM inference trace."""
    return _plan(options, [_read_azure(row) for row in read_csv_rows(path)], path)


def load_mooncake(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """The first ``num_prompts`` requests of a Mooncake trace."""
    return _plan(options, [_read_mooncake(row) for row in read_json_lines(path)], path)


_Milliseconds = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
_Length = Annotated[int, msgspec.Meta(ge=0, le=MAX_LEN)]


class _MooncakeRow(msgspec.Struct):
    timestamp: _Milliseconds
    input_length: _Length
    output_length: _Length
    hash_ids: tuple[int, ...] = ()


def _read_azure(row: Row) -> TracedRequest:
    try:
        time = datetime.fromisoformat(row.value["TIMESTAMP"])
        input_len = _whole_number(row, "ContextTokens")
        output_len = _whole_number(row, "GeneratedTokens")
    except KeyError as error:
        raise row.error(f"There is no column {error}; is this an Azure trace?") from None
    except (TypeError, ValueError) as error:
        raise row.error(f"{error}.") from None
    # Azure's clock is UTC, with or without a time zone.
    return TracedRequest(_timestamp_s(time), input_len, output_len)


def _whole_number(row: Row, column: str) -> int:
    text = row.value[column]
    try:
        number = int(text)
    except ValueError:
        raise row.error(f"{column} must be an integer, got {text[:40]!r}.") from None
    if not 0 <= number <= MAX_LEN:
        raise row.error(f"{column} must be from 0 to {MAX_LEN:,}, got {text[:40]}.")
    return number


def _timestamp_s(time: datetime) -> float:
    zone = time.tzinfo
    return (time - datetime(1970, 1, 1, tzinfo=zone)).total_seconds()


def _read_mooncake(row: Row) -> TracedRequest:
    fields = row.read_as(_MooncakeRow)
    request = TracedRequest(
        fields.timestamp / 1000, fields.input_length, fields.output_length, fields.hash_ids
    )
    if len(request.block_ids) * BLOCK_LEN < request.input_len and request.block_ids:
        raise row.error(
            f"{len(request.block_ids)} blocks of {BLOCK_LEN} tokens do not make "
            f"{request.input_len} tokens of input."
        )
    return request


def _plan(
    options: WorkloadOptions, requests: Sequence[TracedRequest], path: Path
) -> list[PlannedRequest]:
    ordered = sorted(requests, key=lambda request: request.time_s)
    chosen = first_of(ordered, options.num_prompts, path)
    first_s = chosen[0].time_s
    writer = _PromptWriter(options)
    return [
        plan_prompt(
            options,
            writer.write(index, request),
            # max_tokens must be at least 1, but traces have outputs of 0 tokens.
            max_tokens=options.num_output_tokens(max(1, request.output_len), 1),
            arrival_s=(request.time_s - first_s) * options.time_scale,
            ignore_eos=True,
        )
        for index, request in enumerate(chosen)
    ]


class _PromptWriter:
    """Generates the prompts; each block is generated once."""

    def __init__(self, options: WorkloadOptions) -> None:
        self._seed = options.seed
        self._maker = PromptMaker(options)
        self._max_input_len = options.max_input_len
        self._blocks: dict[int, Piece] = {}

    def write(self, index: int, request: TracedRequest) -> str | tuple[int, ...]:
        input_len = max(1, request.input_len)
        if self._max_input_len is not None:
            input_len = min(input_len, self._max_input_len)
        if request.block_ids:
            return self._maker.join(_cut(map(self._block, request.block_ids), input_len))
        source = random.Random(f"trace/{self._seed}/{index}")
        return self._maker.join([self._maker.draw(input_len, source)])

    def _block(self, block_id: int) -> Piece:
        """Depends on the id only, not on earlier requests."""
        if block_id not in self._blocks:
            source = random.Random(f"block/{self._seed}/{block_id}")
            self._blocks[block_id] = self._maker.draw(BLOCK_LEN, source)
        return self._blocks[block_id]


def _cut(blocks: Iterable[Piece], num_tokens: int) -> list[Piece]:
    """Blocks of ``num_tokens`` in total, the last one truncated; further ones are not generated."""
    pieces: list[Piece] = []
    for block in blocks:
        pieces.append(block[:num_tokens])
        num_tokens -= len(pieces[-1])
        if num_tokens <= 0:
            break
    return pieces
