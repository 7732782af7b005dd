"""Loads the chat template of a model: the configured one, or the model's own.

engine.rendering renders it.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.core.errors import InvalidRequestError
from headrace.engine.rendering.prompt_template import (
    PromptTemplate,
    RenderJob,
    TemplateDefinition,
)
from headrace.engine.rendering.render_worker import render_once
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.models.sources.files import ModelFiles


class ChatTemplate:
    """The configured template, or else the model's own. Thread-safe."""

    def __init__(self, files: ModelFiles, tokenizer: Tokenizer, source: str | None = None) -> None:
        """``source`` is a template's text; a mistake in its syntax raises InvalidRequestError."""
        self.source = source if source is not None else tokenizer.chat_template
        self._model = files.name
        self._named_tokens = tokenizer.named_tokens
        if source is not None:
            self._template.check_syntax()

    @property
    def definition(self) -> TemplateDefinition:
        """Raises InvalidRequestError when there is no template."""
        if self.source is None:
            raise InvalidRequestError(
                f"The model '{self._model}' has no chat template. Give one with --chat-template "
                "(in Python: chat_template=), or send a prompt to /v1/completions (in Python: "
                "generate())."
            )
        return TemplateDefinition(self.source, self._named_tokens)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **extra: Any,
    ) -> str:
        """The prompt; ``extra`` are variables of this template. Raises InvalidRequestError.

        Has no time limit. A server renders with engine.rendering.renderer, which has one.
        """
        return self._template.render(
            RenderJob(
                [dict(message) for message in messages],
                variables=extra,
                tools=None if tools is None else [dict(tool) for tool in tools],
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
            )
        )

    def render_once(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt, without a generation prompt, within the limits of a server."""
        job = RenderJob([dict(message) for message in messages], add_generation_prompt=False)
        return render_once(self.definition, job)

    @functools.cached_property
    def _template(self) -> PromptTemplate:
        return PromptTemplate(self.definition)


def load_chat_template(arg: str) -> str:
    """The text of a template that is given as text or as a file's path."""
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
