"""Reads a response into the record of its request as it arrives.

Of the OpenAI API's JSON it decodes what is measured: text, finish reason, usage, errors. An invalid
response fails its own request only.
"""

import msgspec

from headrace.bench.http.sse import EventSplitter
from headrace.bench.records import Failure, RequestRecord
from headrace.http1.connection import InvalidResponseError

_DONE = b"[DONE]"
_MAX_ERROR_LEN = 300
"""Characters of a server's error message that a record stores."""
_MAX_ERROR_BODY_LEN = 65_536
"""Bytes of an error's body that are read; the rest is dropped."""
MAX_BODY_LEN = 256 * 1024 * 1024
"""Bytes of a response that is not streamed."""
_MAX_FINISH_REASON_LEN = 100
"""Characters."""
_MAX_SHOWN_LEN = 32
"""Characters of an invalid count in an error message."""
_MAX_NUM_TOKENS = 2**53
"""The largest count that every JSON parser represents exactly."""
_NOT_JSON = (ValueError, RecursionError)
"""What msgspec raises for invalid JSON, wrong types, or too deep nesting."""


class _Function(msgspec.Struct, gc=False):
    name: object = None
    arguments: object = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    """Thinking, as vLLM and others name it; it counts as generated text."""
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    """A whole response, or one event of a stream; of completions or of chat."""

    choices: list[_Choice] | None = None
    usage: object = None
    """Of any type: invalid usage does not make the response invalid."""
    error: object = None


_decode = msgspec.json.Decoder(_Body).decode


class ResponseReader:
    """Fills one record from one response. Call ``finish`` or ``fail`` at its end, once."""

    def __init__(
        self, record: RequestRecord, *, began_s: float, is_streamed: bool, keep_text: bool
    ) -> None:
        self._record = record
        self._began_s = began_s
        """The run's start by ``time.perf_counter``: times in records count from it."""
        self._is_streamed = is_streamed
        self._keep_text = keep_text
        self._texts: list[str] = []
        self._body: list[bytes] = []
        """Of a response that is not streamed, or that is an error."""
        self._body_len = 0
        self._events = EventSplitter()
        self._has_events = False
        self._is_done = False
        self._content_type = ""

    def on_status(self, status: int, content_type: str, now_s: float) -> None:
        self._record.status = status
        self._record.head_s = now_s - self._began_s
        self._content_type = content_type

    def on_body(self, body: bytes, now_s: float) -> None:
        self._record.num_bytes += len(body)
        is_good = 200 <= (self._record.status or 0) < 300
        if is_good and self._is_streamed:
            now_s -= self._began_s
            for data in self._events.feed(body):
                self._take_event(data, now_s)
            return
        if is_good or self._body_len < _MAX_ERROR_BODY_LEN:
            self._body.append(body)
            self._body_len += len(body)
        if self._body_len > MAX_BODY_LEN:
            raise InvalidResponseError(f"The response exceeds {MAX_BODY_LEN:,} bytes.")

    def finish(self, now_s: float) -> None:
        """The response is complete, as far as HTTP is concerned."""
        record = self._record
        record.ended_s = now_s - self._began_s
        status = record.status or 0
        if not 200 <= status < 300:
            self._read_error_status(status)
        elif self._is_streamed:
            self._finish_stream(record.ended_s)
        else:
            self._read_whole(b"".join(self._body))
        if record.num_output_tokens == 0 and (record.chunk_times_s or self._texts):
            record.num_output_tokens = None
            record.usage_error = "completion_tokens is 0, and there is text"
        if self._keep_text:
            record.text = "".join(self._texts)

    def fail(self, failure: Failure, error: str, now_s: float) -> None:
        """There is no response, or not all of it."""
        self._record.ended_s = now_s - self._began_s
        if self._keep_text:
            self._record.text = "".join(self._texts)
        if self._is_streamed and failure is Failure.CUT:
            for data in self._events.finish():
                self._take_event(data, self._record.ended_s)
            if self._is_done and self._record.first_token_s is not None:
                return  # [DONE] came, so all of it is there
        self._fail(failure, error)

    def _take_event(self, data: bytes, now_s: float) -> None:
        self._has_events = True
        if data == _DONE:
            self._is_done = True
            return
        try:
            parsed = _decode(data)
        except _NOT_JSON as error:
            self._fail(Failure.MALFORMED, f"An event is not valid: {error}.")
            return
        if parsed.error is not None:
            self._fail(Failure.ERROR_EVENT, _error_text(data))
            return
        record = self._record
        if parsed.usage is not None:
            self._take_usage(parsed.usage)
        if not parsed.choices:
            return
        for choice in parsed.choices:
            text = choice.text if choice.delta is None else _text_of(choice.delta)
            if text:
                record.chunk_times_s.append(now_s)
                if self._keep_text:
                    self._texts.append(text)
            if choice.finish_reason:  # some servers send "" until there is one
                record.finish_reason = choice.finish_reason[:_MAX_FINISH_REASON_LEN]
            elif not text:
                continue
            if record.first_token_s is None:
                record.first_token_s = now_s

    def _finish_stream(self, now_s: float) -> None:
        for data in self._events.finish():
            self._take_event(data, now_s)
        if self._events.error_data is not None:
            self._fail(Failure.ERROR_EVENT, _error_text(self._events.error_data))
        elif self._is_done:
            if self._record.first_token_s is None:
                self._fail(Failure.MALFORMED, "The stream has neither text nor a finish reason.")
        elif not self._has_events and "text/event-stream" not in self._content_type:
            content_type = self._content_type or "no content type"
            self._fail(Failure.MALFORMED, f"Expected an event stream, got {content_type}.")
        else:
            self._fail(Failure.CUT, "The stream ended without [DONE].")

    def _read_whole(self, body: bytes) -> None:
        try:
            parsed = _decode(body)
        except _NOT_JSON as error:
            self._fail(Failure.MALFORMED, f"The response is not valid: {error}.")
            return
        if parsed.error is not None:
            self._fail(Failure.MALFORMED, f"An error with status 200: {_error_text(body)}")
            return
        if not parsed.choices:
            self._fail(Failure.MALFORMED, "The response has no choices.")
            return
        if parsed.usage is not None:
            self._take_usage(parsed.usage)
        for choice in parsed.choices:
            text = choice.text if choice.message is None else _text_of(choice.message)
            if text:
                self._texts.append(text)
            if choice.finish_reason:
                self._record.finish_reason = choice.finish_reason[:_MAX_FINISH_REASON_LEN]

    def _take_usage(self, usage: object) -> None:
        """The last one counts. Invalid counts are dropped, and recorded in ``usage_error``."""
        record = self._record
        record.num_prompt_tokens = record.num_output_tokens = record.usage_error = None
        if not isinstance(usage, dict):
            record.usage_error = "it is not an object"
            return
        record.num_prompt_tokens = self._count_in(usage, "prompt_tokens")
        record.num_output_tokens = self._count_in(usage, "completion_tokens")

    def _count_in(self, usage: dict[object, object], name: str) -> int | None:
        value = usage.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():  # from languages with one number type
            value = int(value)
        if type(value) is int and 0 <= value <= _MAX_NUM_TOKENS:
            return value
        shown = str(value) if isinstance(value, float | int) else f"of type {type(value).__name__}"
        self._record.usage_error = f"{name} is {shown[:_MAX_SHOWN_LEN]}"
        return None

    def _read_error_status(self, status: int) -> None:
        text = _error_text(b"".join(self._body))
        if status >= 400:
            self._fail(Failure.HTTP_STATUS, f"HTTP {status}: {text}" if text else f"HTTP {status}")
        elif status >= 300:
            self._fail(
                Failure.MALFORMED,
                f"HTTP {status}: a redirect. Use the address that it redirects to as --base-url.",
            )
        else:
            self._fail(Failure.MALFORMED, f"HTTP {status}, which is not a final response.")

    def _fail(self, failure: Failure, error: str) -> None:
        """The first failure is recorded; later ones are its consequences."""
        if self._record.failure is None:
            self._record.failure = failure
            self._record.error = error


def _text_of(message: _Message) -> str | None:
    return (
        message.content
        or message.reasoning_content
        or message.reasoning
        or message.refusal
        or (_text_of_calls(message.tool_calls) if message.tool_calls else None)
    )


def _text_of_calls(calls: list[_ToolCall]) -> str:
    """Names and arguments of tool calls, which are generated text."""
    parts = [(each.function.name, each.function.arguments) for each in calls if each.function]
    return "".join(text for part in parts for text in part if isinstance(text, str))


def _error_text(body: bytes) -> str:
    """The message of an error in OpenAI's or FastAPI's shape, or else the whole body."""
    found: object = None
    try:
        found = msgspec.json.decode(body)
    except _NOT_JSON:
        found = body.decode(errors="replace")
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    text = found if isinstance(found, str) else _as_json(found, body)
    return " ".join(text.split())[:_MAX_ERROR_LEN]


def _as_json(value: object, body: bytes) -> str:
    """Or the whole body, if it is nested too deep to be encoded."""
    try:
        return msgspec.json.encode(value).decode()
    except _NOT_JSON:
        return body.decode(errors="replace")
