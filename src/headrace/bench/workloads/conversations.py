"""Conversations of several turns, each sent with the server's responses to the previous turns.

Formats: ShareGPT's ``conversations``, OpenAI's ``messages``, and the ``turns`` of MT-Bench and
Vicuna. Of answers in the data set, only the length is used.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.bench.figures.token_counter import load_token_counter
from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import Message, plan_turns, user_message
from headrace.bench.workloads.row_selection import some_of
from headrace.bench.workloads.rows import NumTokens, Row, read_json_rows
from headrace.bench.workloads.sharegpt import ROLES, Turn
from headrace.bench.workloads.token_estimate import num_tokens_of

DEFAULT_OUTPUT_LEN = 256


class ChatMessage(msgspec.Struct):
    """A message in the API's format."""

    role: str
    content: str


class _ConversationRow(msgspec.Struct):
    conversations: list[Turn] | None = None
    messages: list[ChatMessage] | None = None
    turns: list[str] | None = None
    max_tokens: NumTokens | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The turns of a conversation, and the data set's answers."""

    turns: list[list[Message]]
    """Per turn, the messages after the previous answer; the user's is the last one."""
    answers: list[str | None]
    """One per turn; None if unknown."""
    max_tokens: int | None = None
    task: str | None = None


def load_conversations(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """A random sample of ``num_prompts`` conversations, with all their turns."""
    dialogues = [
        dialogue
        for row in read_json_rows(path)
        if (dialogue := read_dialogue(row)).turns  # some rows have answers only
    ]
    chosen = some_of(dialogues, options.num_prompts, path, options.seed)
    counter = load_token_counter(options.tokenizer)
    planned: list[PlannedRequest] = []
    for dialogue in chosen:
        answer_lens = num_tokens_of([answer or "" for answer in dialogue.answers], counter)
        planned += plan_turns(
            options,
            dialogue.turns,
            first_index=len(planned),
            max_tokens=[
                options.num_output_tokens(dialogue.max_tokens or length or None, DEFAULT_OUTPUT_LEN)
                for length in answer_lens
            ],
            task=dialogue.task,
        )
    return planned


def read_dialogue(row: Row) -> Dialogue:
    """Raises WorkloadError if the row has none of the formats."""
    fields = row.read_as(_ConversationRow)
    if fields.turns is not None:
        messages = [user_message(turn) for turn in fields.turns]
    elif fields.messages is not None:
        messages = [_message(row, one.role, one.content) for one in fields.messages]
    elif fields.conversations is not None:
        messages = [_message(row, turn.sender, turn.value) for turn in fields.conversations]
    else:
        raise row.error("It has none of conversations, messages and turns.")
    return _dialogue(messages, fields.max_tokens, fields.task)


def _message(row: Row, role: str, content: str) -> Message:
    if role not in ROLES:
        raise row.error(f"There is no role {role!r}. Known are: {', '.join(ROLES)}.")
    return {"role": ROLES[role], "content": content}


def _dialogue(messages: list[Message], max_tokens: int | None, task: str | None) -> Dialogue:
    turns: list[list[Message]] = []
    answers: list[str | None] = []
    pending: list[Message] = []
    """System messages before the user's next one."""
    for message in messages:
        if message["role"] == "user":
            turns.append([*pending, message])
            answers.append(None)
            pending = []
        elif message["role"] == "system":
            pending.append(message)
        elif answers and answers[-1] is None:
            answers[-1] = message["content"]
        # Answers without a question are skipped: many conversations start with one.
    return Dialogue(turns, answers, max_tokens, task)
