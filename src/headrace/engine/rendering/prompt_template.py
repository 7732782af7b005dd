"""One chat template: renders messages to the prompt's text, as transformers does.

Renders on the caller's thread without a time limit; renderer.py sets one.
"""

import functools
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jinja2
import msgspec

from headrace.core.errors import InvalidParameterError, InvalidRequestError
from headrace.engine.rendering.content_format import ContentFormat, detect_content_format
from headrace.engine.rendering.jinja_environment import create_environment
from headrace.engine.rendering.plain_template import plain_weight

MAX_PROMPT_CHARS = 32 * 1024 * 1024
"""Characters. Longer prompts fit into no model's context: rendering stops here."""
MAX_TRIVIAL_STEPS = 10_000_000
"""Maximum number of characters copied on an event loop's thread."""
_MAX_PARSED_CHARS = 256 * 1024
"""Longer templates are not parsed there."""
_MAX_ERROR_CHARS = 1000


class TemplateDefinition(msgspec.Struct, frozen=True):
    """A template and its variables."""

    source: str
    named_tokens: dict[str, str] = {}
    """Texts by the names that templates use: bos_token, eos_token, unk_token, …"""


class RenderJob(msgspec.Struct, frozen=True):
    """What to render, as plain JSON values."""

    messages: list[dict[str, Any]]
    """A content is a text, None, or a list of parts {"type": "text", "text": …}."""
    variables: dict[str, Any] = {}
    """Further variables of the template."""
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    """The prompt ends with the last message's text, white space included, so that the model
    continues it."""


class PromptTemplate:
    """A compiled template. Thread-safe."""

    def __init__(self, definition: TemplateDefinition) -> None:
        self._definition = definition

    @property
    def source(self) -> str:
        return self._definition.source

    @property
    def is_plain(self) -> bool:
        """Whether its work has a known bound (plain_template.py); true also of a template with a
        mistake in its syntax, which is refused without being run."""
        return self._plain_weight is not None

    def is_trivial(self, job: RenderJob) -> bool:
        """Whether rendering takes a few milliseconds at most, short enough for an event loop."""
        weight = self._plain_weight
        if weight is None:
            return False
        limit = MAX_TRIVIAL_STEPS // (max(weight, 1) * (1 + len(job.messages)))
        return (
            len(self.source) + _count_chars([job.messages, job.variables, job.tools], limit)
            <= limit
        )

    @functools.cached_property
    def content_format(self) -> ContentFormat:
        """Raises InvalidRequestError for a mistake in the syntax."""
        return detect_content_format(self._tree)

    def render(self, job: RenderJob) -> str:
        """The prompt. Raises InvalidRequestError if the template rejects the messages or fails."""
        messages = [self._to_template(message) for message in job.messages]
        if not job.continue_final_message:
            return self._run(messages, job)
        mark = f"Continue{secrets.token_hex(16)}"
        text = _mark_end(messages, mark)
        return _cut_at_mark(self._run(messages, job), mark, text)

    def check_syntax(self) -> None:
        """Raises InvalidRequestError for a template that cannot be compiled."""
        _ = self._template

    @functools.cached_property
    def _plain_weight(self) -> int | None:
        if len(self.source) > _MAX_PARSED_CHARS:
            return None
        try:
            return plain_weight(self._tree)
        except InvalidRequestError:
            return 0

    def _run(self, messages: list[dict[str, Any]], job: RenderJob) -> str:
        variables = {
            **self._definition.named_tokens,
            "documents": None,
            **job.variables,
            "messages": messages,
            "tools": job.tools,
            "add_generation_prompt": job.add_generation_prompt,
        }
        try:
            return _join(self._template.generate(variables))
        except InvalidRequestError:
            raise
        except jinja2.TemplateError as error:
            raise InvalidRequestError(
                f"The chat template rejected these messages: {_shorten(error.message or error)}"
            ) from error
        except MemoryError as error:
            raise InvalidRequestError(
                "The chat template needs too much memory to render these messages."
            ) from error
        except Exception as error:  # a template runs code, so it can raise any exception
            raise InvalidRequestError(
                "The chat template cannot render these messages "
                f"({type(error).__name__}: {_shorten(error)})."
            ) from error

    def _to_template(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The message with its content in the form that the template reads."""
        message = dict(message)
        content = message.get("content")
        if isinstance(content, list):
            texts = [_text_of(part) for part in content]
            if not self.content_format.reads_parts:
                message["content"] = "\n".join(texts)
        elif isinstance(content, str) and not self.content_format.reads_text:
            message["content"] = [_text_part(content)]
        return message

    @functools.cached_property
    def _environment(self) -> jinja2.Environment:
        return create_environment()

    @functools.cached_property
    def _tree(self) -> jinja2.nodes.Template:
        with _syntax_errors():
            return self._environment.parse(self._definition.source)

    @functools.cached_property
    def _template(self) -> jinja2.Template:
        with _syntax_errors():
            return self._environment.from_string(self._definition.source)


@contextmanager
def _syntax_errors() -> Iterator[None]:
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise InvalidRequestError(
            f"The chat template is wrong at line {error.lineno}: {error.message}"
        ) from error
    except (RecursionError, MemoryError, ValueError, SyntaxError) as error:
        raise InvalidRequestError(
            f"The chat template cannot be compiled ({type(error).__name__}: {_shorten(error)})."
        ) from error


def _join(pieces: Iterator[str]) -> str:
    """The whole text, if it is one that could be a prompt."""
    parts: list[str] = []
    num_chars = 0
    for piece in pieces:
        num_chars += len(piece)
        if num_chars > MAX_PROMPT_CHARS:
            raise InvalidRequestError(
                f"The chat template renders these messages to more than {MAX_PROMPT_CHARS} "
                "characters, which fit into no model's context."
            )
        parts.append(piece)
    text = "".join(parts)
    if not text.isascii():
        text.encode()  # raises for a lone surrogate, which no tokenizer accepts
    return text


def _text_of(part: object) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind != "text" or not isinstance(text, str):
        raise InvalidRequestError(
            'A message\'s content must be a text or a list of {"type": "text", "text": ...}, '
            f"got a part of type {_shorten(repr(kind))}."
        )
    return text


def _text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _mark_end(messages: list[dict[str, Any]], mark: str) -> str:
    """Append the mark to the last message's text; returns the text."""
    if not messages:
        raise InvalidRequestError("There is no final message to continue.")
    final = messages[-1]
    content = final.get("content")
    if not isinstance(content, list):
        text = content or ""
        final["content"] = text + mark
        return text
    if not content:
        final["content"] = [_text_part(mark)]
        return ""
    *before, last = content
    text = _text_of(last)
    final["content"] = [*before, {**last, "text": text + mark}]
    return text


def _cut_at_mark(prompt: str, mark: str, text: str) -> str:
    """The prompt up to the mark, ending with the unchanged text.

    The mark after the text keeps templates from stripping its end. What they strip from its
    beginning is restored; a text that they change otherwise cannot be continued.
    """
    if prompt.count(mark) != 1:
        raise InvalidParameterError(
            "continue_final_message",
            f"the chat template shows the last message's content {prompt.count(mark)} times, so "
            "it cannot be continued",
        )
    prompt = prompt[: prompt.index(mark)]
    if prompt.endswith(text):
        return prompt
    shown = text.lstrip()
    if not prompt.endswith(shown):
        raise InvalidParameterError(
            "continue_final_message",
            "the chat template changes the last message's content, so it cannot be continued",
        )
    return prompt[: len(prompt) - len(shown)] + text


def _count_chars(value: Any, limit: int) -> int:
    """Characters of all texts in a JSON value, and one for each value; stops near the limit."""
    num_chars = 0
    rest = [value]
    while rest and num_chars <= limit:
        part = rest.pop()
        num_chars += 1
        if isinstance(part, str):
            num_chars += len(part)
        elif isinstance(part, dict):
            rest += part.keys()
            rest += part.values()
        elif isinstance(part, list):
            rest += part
    return num_chars


def _shorten(error: object) -> str:
    """An error's text for a response: of limited length, and valid UTF-8."""
    text = str(error)
    if len(text) > _MAX_ERROR_CHARS:
        text = text[:_MAX_ERROR_CHARS] + "..."
    return text.encode(errors="replace").decode()
