"""Loads the models of a pool: an engine, a renderer and what requests need of both."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.engine.async_engine import AsyncEngine
from headrace.engine.config import EngineConfig
from headrace.engine.messages import StartupPhase
from headrace.engine.rendering.chat_template import ChatTemplate, load_chat_template
from headrace.engine.rendering.renderer import PromptRenderer
from headrace.server.model_pool.pool import OnPhase
from headrace.server.model_pool.spec import ModelSpec
from headrace.server.reporting.metrics import ServerMetrics
from headrace.server.reporting.tracing import RequestTracer
from headrace.server.sampling_defaults import read_sampling_defaults
from headrace.server.served_model import ServedModel

StartEngine = Callable[[EngineConfig, ServerMetrics, OnPhase], Awaitable[AsyncEngine]]


class LoadReporter(Protocol):
    """Shows to the user what is loaded."""

    def phase(self, model: str, phase: StartupPhase) -> None:
        """A phase of loading this model started, progressed or finished."""

    def loaded(self, served: ServedModel) -> None:
        """Requests can use the model."""

    def unloaded(self, model: str) -> None:
        """The model was unloaded."""


@dataclass(frozen=True)
class LoadableModel:
    """A model with what was read of its options at the server's start."""

    spec: ModelSpec
    metrics: ServerMetrics
    chat_template: str | None
    """That replaces the model's own."""
    sampling_defaults: dict[str, float] | None
    """See ServedModel.own_sampling_defaults."""


def read_options(spec: ModelSpec) -> LoadableModel:
    """Raises HeadraceError for files that cannot be read."""
    template = spec.server.chat_template
    return LoadableModel(
        spec,
        ServerMetrics(spec.names[0], with_legacy=spec.server.legacy_metrics),
        None if template is None else load_chat_template(template),
        read_sampling_defaults(spec.server),
    )


class ServedModelLoader:
    """A ModelLoader of ServedModel."""

    def __init__(
        self,
        models: Mapping[str, LoadableModel],
        start_engine: StartEngine,
        reporter: LoadReporter,
        tracer: RequestTracer | None,
        created: int,
    ) -> None:
        """models: by the name in responses. created: start of the server, in Unix seconds."""
        self._models = models
        self._start_engine = start_engine
        self._reporter = reporter
        self._tracer = tracer
        self._created = created

    async def load(self, name: str, on_phase: OnPhase) -> ServedModel:
        model = self._models[name]
        engine_config, metrics = model.spec.engine, model.metrics

        def report(phase: StartupPhase) -> None:
            on_phase(phase)
            self._reporter.phase(name, phase)

        engine = await self._start_engine(engine_config, metrics, report)
        try:
            metrics.open(engine.ready, engine_config)
            template = ChatTemplate(engine.model_files, engine.tokenizer, model.chat_template)
            served = ServedModel(
                engine=engine,
                config=model.spec.server,
                metrics=metrics,
                model=engine_config.model,
                created=self._created,
                chat_template=template,
                renderer=PromptRenderer(template),
                tracer=self._tracer,
                own_sampling_defaults=model.sampling_defaults,
            )
            await served.renderer.__aenter__()
            for module in model.spec.lora_modules:
                await served.adapters.load(module, param="lora_modules")
        except BaseException:
            await engine.shutdown()
            raise
        self._reporter.loaded(served)
        return served

    async def unload(self, name: str, model: ServedModel) -> None:
        try:
            await model.close()
        finally:
            model.metrics.on_unloaded()
            self._reporter.unloaded(name)

    async def wait_dead(self, model: ServedModel) -> None:
        await model.engine.wait_dead()

    def names_of(self, model: ServedModel) -> Sequence[str]:
        return (*model.names, *model.adapters.names)
