"""Renders chat messages into a prompt with a model's Jinja template, as transformers does.

Knows no tokens beyond the texts that templates name, and nothing of how messages were checked.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headrace.core.errors import InvalidRequestError
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.models.sources.files import ModelFiles


class ChatTemplate:
    """The template that was asked for, or else the model's own. Safe in many threads."""

    def __init__(self, files: ModelFiles, tokenizer: Tokenizer, source: str | None = None) -> None:
        """``source`` is a template's text; a mistake in its syntax raises InvalidRequestError."""
        self.source = source if source is not None else tokenizer.chat_template
        self._model = files.name
        self._named_tokens = tokenizer.named_tokens
        if source is not None:
            _ = self._template  # so that a mistake is told to whom it belongs, at once

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> str:
        """The prompt; ``extra`` are variables of this template. Raises InvalidRequestError."""
        variables = {
            **self._named_tokens,
            "documents": None,
            **extra,
            "messages": [dict(message) for message in messages],
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._template.render(variables)
        except InvalidRequestError:
            raise
        except jinja2.TemplateError as error:
            raise InvalidRequestError(
                f"The chat template refused these messages: {error.message or error}"
            ) from error
        except Exception as error:  # a template runs code: it can fail in every way there is
            raise InvalidRequestError(
                f"The chat template cannot render these messages ({type(error).__name__}: {error})."
            ) from error

    @functools.cached_property
    def _template(self) -> jinja2.Template:
        if self.source is None:
            raise InvalidRequestError(
                f"The model '{self._model}' has no chat template. Give one with --chat-template "
                "(in Python: chat_template=), or send a prompt to /v1/completions (in Python: "
                "generate())."
            )
        try:
            return _environment().from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise InvalidRequestError(
                f"The chat template is wrong at line {error.lineno}: {error.message}"
            ) from error


def load_chat_template(arg: str) -> str:
    """The text of a template that is given as a file's path, or in itself."""
    if "{%" in arg or "{{" in arg or "{#" in arg:
        return arg
    path = Path(arg).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InvalidRequestError(
            f"The chat template '{arg}' is neither a template (it has no '{{{{' or '{{%') nor a "
            f"file that can be read: {reason}."
        ) from error


def _environment() -> ImmutableSandboxedEnvironment:
    """Templates come from strangers: they run in Jinja's sandbox and see plain data only."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class _GenerationTag(Extension):
    """``{% generation %}`` marks what the model wrote, which matters to training alone."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter of this name escapes for HTML, which no model was trained on."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)
