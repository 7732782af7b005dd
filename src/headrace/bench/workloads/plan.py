"""Converts prompts and conversations to planned requests for either endpoint."""

from collections.abc import Sequence

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions

Message = dict[str, str]


def user_message(text: str) -> Message:
    return {"role": "user", "content": text}


def plan_prompt(
    options: WorkloadOptions,
    prompt: str | tuple[int, ...],
    *,
    max_tokens: int,
    task: str | None = None,
    arrival_s: float | None = None,
    ignore_eos: bool = False,
) -> PlannedRequest:
    """One prompt; for chat, a user message. ``ignore_eos`` is the data set's default."""
    is_message = options.is_chat and isinstance(prompt, str)
    return PlannedRequest(
        max_tokens=max_tokens,
        prompt=None if is_message else prompt,
        messages=(user_message(str(prompt)),) if is_message else None,
        arrival_s=arrival_s,
        task=task,
        ignore_eos=ignore_eos if options.ignore_eos is None else options.ignore_eos,
    )


def plan_turns(
    options: WorkloadOptions,
    turns: Sequence[Sequence[Message]],
    *,
    first_index: int,
    max_tokens: Sequence[int],
    task: str | None = None,
) -> list[PlannedRequest]:
    """A conversation, whose turns follow one another.

    first_index: index of the first turn in the workload.
    For completions, a turn is the text of its messages, separated by an empty line.
    """
    planned = []
    for number, (messages, num_tokens) in enumerate(zip(turns, max_tokens, strict=True)):
        text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        planned.append(
            PlannedRequest(
                max_tokens=num_tokens,
                prompt=None if options.is_chat else (text if number == 0 else f"\n\n{text}"),
                messages=tuple(messages) if options.is_chat else None,
                follows=None if number == 0 else first_index + number - 1,
                task=task,
                ignore_eos=bool(options.ignore_eos),
            )
        )
    return planned
