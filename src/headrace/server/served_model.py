"""What the routes share: the engine, the model's names, and whether new work is taken.

Knows no HTTP.
"""

from dataclasses import dataclass, field

from headrace.core.errors import EngineDeadError, EngineDrainingError
from headrace.engine.async_engine import AsyncEngine
from headrace.engine.rendering.renderer import PromptRenderer
from headrace.engine.tokenization.chat_template import ChatTemplate
from headrace.server.config import ServerConfig
from headrace.server.http.errors import unknown_model
from headrace.server.metrics import ServerMetrics
from headrace.server.prompt_encoder import PromptEncoder


@dataclass(kw_only=True)
class ServedModel:
    """One model on one engine, under one or more names."""

    engine: AsyncEngine
    config: ServerConfig
    metrics: ServerMetrics
    model: str
    """The model as it was named at the start."""
    created: int
    """Unix seconds of the start."""
    chat_template: ChatTemplate
    renderer: PromptRenderer
    """Renders the chat template."""
    prompt_encoder: PromptEncoder = field(init=False)

    def __post_init__(self) -> None:
        ready = self.engine.ready
        self.prompt_encoder = PromptEncoder(
            self.engine.tokenizer, vocab_size=ready.vocab_size, max_model_len=ready.max_model_len
        )
        if self.chat_template.source != self.engine.tokenizer.chat_template:
            self.engine.end_turns_as(self.chat_template)

    @property
    def names(self) -> tuple[str, ...]:
        """The name in replies first, then its aliases."""
        return self.config.served_model_name or (self.model,)

    @property
    def sampling_defaults(self) -> dict[str, float]:
        """For requests that name no temperature and the like."""
        if self.config.sampling_defaults == "none":
            return {}
        return self.engine.sampling_defaults

    def resolve(self, name: str | None) -> str:
        """The model's name for replies; raises ApiError (404) for a model that is not here."""
        if name and name not in self.names:
            raise unknown_model(name, self.names)
        return self.names[0]

    def check_open(self) -> None:
        """Raises EngineDeadError or EngineDrainingError when no new work can be taken."""
        if not self.engine.is_alive:
            raise EngineDeadError("The engine has failed; this server is about to exit.")
        if self.engine.is_draining:
            raise EngineDrainingError("The server is shutting down and takes no new requests.")
