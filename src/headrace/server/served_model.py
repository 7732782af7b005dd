"""The state that all endpoints share: one model on one engine."""

from dataclasses import dataclass, field

from headrace.core.errors import EngineDeadError, EngineDrainingError, TaskNotSupportedError
from headrace.core.generation.pooling import ServedTask
from headrace.engine.adapters.loaded_adapter import LoadedAdapter
from headrace.engine.async_engine import AsyncEngine
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.rendering.renderer import PromptRenderer
from headrace.engine.rendering.request_templates import RequestTemplates
from headrace.models.loaders.huggingface.sentence_config import SentenceConfig, read_sentence_config
from headrace.server.adapters import ServedAdapters
from headrace.server.config import ServerConfig
from headrace.server.http.errors import unknown_model
from headrace.server.parsing.model_formats import ModelFormats
from headrace.server.prompt_encoder import PromptEncoder
from headrace.server.reporting.metrics import ServerMetrics
from headrace.server.reporting.tracing import RequestTracer


@dataclass(kw_only=True)
class ServedModel:
    """A model, its engine and its names."""

    engine: AsyncEngine
    config: ServerConfig
    metrics: ServerMetrics
    model: str
    """The MODEL argument of ``headrace serve``."""
    created: int
    """Start of the server, in Unix seconds."""
    chat_template: ChatTemplate
    renderer: PromptRenderer
    """Renders the chat template."""
    tracer: RequestTracer | None = None
    """Exports a span of each request."""
    own_sampling_defaults: dict[str, float] | None = None
    """Sampling parameters of requests that set none; None: those that the model recommends."""
    sentence_config: SentenceConfig | None = field(init=False)
    """The files of sentence-transformers, of a model that embeds and has them."""
    adapters: ServedAdapters = field(init=False)
    prompt_encoder: PromptEncoder = field(init=False)
    formats: ModelFormats = field(init=False)
    """Of tool calls and reasoning."""
    request_templates: RequestTemplates = field(init=False)
    """Renders the chat templates of requests, if they are trusted."""

    def __post_init__(self) -> None:
        ready = self.engine.ready
        files = self.engine.model_files
        self.sentence_config = None
        if self.task == "embed" and files.format == "huggingface":
            self.sentence_config = read_sentence_config(files.path)
        self.adapters = ServedAdapters(self.engine.adapters, self.names)
        self.prompt_encoder = PromptEncoder(
            self.engine.tokenizer, vocab_size=ready.vocab_size, max_model_len=ready.max_model_len
        )
        self.formats = ModelFormats(
            self.chat_template.source,
            self.engine.tokenizer,
            tool_call_parser=self.config.tool_call_parser,
            reasoning_parser=self.config.reasoning_parser,
        )
        self.request_templates = RequestTemplates(self.engine.tokenizer.named_tokens)
        if self.chat_template.source != self.engine.tokenizer.chat_template:
            self.engine.add_end_tokens_of(self.chat_template)

    @property
    def names(self) -> tuple[str, ...]:
        """The name in responses, then its aliases."""
        return self.config.served_model_name or (self.model,)

    @property
    def sampling_defaults(self) -> dict[str, float]:
        """Sampling parameters of requests that set none."""
        own = self.own_sampling_defaults
        return self.engine.sampling_defaults if own is None else own

    def resolve(self, name: str | None) -> str:
        """The name in responses of the model, or of one of its adapters; raises ApiError (404) for
        an unknown one."""
        if not name or name in self.names:
            return self.names[0]
        if self.adapters.get(name) is None:
            raise unknown_model(name, (*self.names, *self.adapters.names))
        return name

    def adapter_of(self, model: str) -> LoadedAdapter | None:
        """The adapter of the requests with this resolved name; None for the model itself. Raises
        ApiError (404) if it was unloaded since."""
        if model == self.names[0]:
            return None
        adapter = self.adapters.get(self.resolve(model))
        return None if adapter is None else adapter.loaded

    @property
    def task(self) -> ServedTask:
        """What the model is served for."""
        pooling = self.engine.ready.pooling
        return "generate" if pooling is None else pooling.task

    def check_task(self, *tasks: ServedTask) -> None:
        """Raises TaskNotSupportedError if the model is served for none of these tasks."""
        if self.task not in tasks:
            raise TaskNotSupportedError(
                f"This model is served for the task {self.task!r}, and this endpoint needs "
                f"{' or '.join(map(repr, tasks))}. GET /v1/models says each model's task; the "
                "option --task sets it."
            )

    async def close(self) -> None:
        """Abort unfinished requests and end the model's processes."""
        try:
            await self.renderer.__aexit__(None, None, None)
            self.prompt_encoder.close()
            self.request_templates.close()
        finally:
            await self.engine.shutdown()

    def check_accepting(self) -> None:
        """Raises EngineDeadError or EngineDrainingError if new requests are not accepted."""
        if not self.engine.is_alive:
            raise EngineDeadError("The engine has failed; the server is exiting.")
        if self.engine.is_draining:
            raise EngineDrainingError("The server is shutting down and accepts no new requests.")
