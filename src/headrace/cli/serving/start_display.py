"""The output of ``headrace serve``: startup phases, settings, address, shutdown."""

import json
import shlex
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.core.generation.pooling import ServedTask
from headrace.engine.messages import StartupPhase
from headrace.server.model_pool.served_models import ServedModels
from headrace.server.served_model import ServedModel
from headrace.version import __version__


class StartDisplay:
    """Writes to stdout, as plain lines if it is not a terminal."""

    def __init__(self, *, several: bool = False) -> None:
        """several: models are loaded while the server runs."""
        self._is_terminal = sys.stdout.isatty()
        self._several = several
        self._is_draining = False
        self._console = Console(soft_wrap=not self._is_terminal, highlight=False)
        has_status = self._is_terminal and not several
        self._status = self._console.status("") if has_status else None

    def phase(self, model: str, phase: StartupPhase) -> None:
        """A startup phase of an engine core started, progressed or finished."""
        if self._status is None:
            if phase.seconds is not None:
                name = f"{model}: {phase.name}" if self._several else phase.name
                self._say(f"{name}: {phase.seconds:.1f} s")
            return
        if phase.seconds is None:
            steps = f" {phase.done}/{phase.total}" if phase.total else ""
            self._status.update(f"{phase.name}{steps} …")
            self._status.start()

    def loaded(self, served: ServedModel) -> None:
        if self._several:
            self._say(f"Loaded {served.names[0]}.")
            self._show_table(served)

    def unloaded(self, model: str) -> None:
        if self._several and not self._is_draining:
            self._say(f"Unloaded {model}.")

    def ready(self, models: ServedModels, url: str, *, with_keys: bool) -> None:
        self.stop()
        served = None if self._several else models.models[0]
        if served is not None:
            self._show_table(served)
        names = [slot.name for slot in models.slots]
        self._say(f"Headrace {__version__} serves {', '.join(names)} at {url}/v1")
        has_template = served is None or served.chat_template.source is not None
        task: ServedTask = "generate" if served is None else served.task
        self._say(_curl(names[0], url, task, has_template=has_template, with_keys=with_keys))

    def draining(self, num_unfinished: int, timeout_s: float) -> None:
        self._is_draining = True
        if num_unfinished:
            self._say(
                f"Shutting down: waiting up to {timeout_s:g} s for {num_unfinished} running "
                "requests. Press Ctrl-C to exit at once."
            )
        else:
            self._say("Shutting down.")

    def failed(self, message: str) -> None:
        print(f"Error: {message}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Restore the terminal."""
        if self._status is not None:
            self._status.stop()

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)
        sys.stdout.flush()

    def _show_table(self, served: ServedModel) -> None:
        ready = served.engine.ready
        phases = [(f"start: {name}", f"{seconds:.1f} s", "") for name, seconds in ready.phases]
        rows = [*ready.settings, *_sampling_rows(served), *phases]
        if not self._is_terminal:
            for name, value, why in rows:
                self._say(f"{name}: {value}" + (f" ({why})" if why else ""))
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("setting", "value", "reason"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)


def _sampling_rows(served: ServedModel) -> list[tuple[str, str, str]]:
    """The sampling parameters of requests that set none; no row without model defaults."""
    defaults = served.sampling_defaults
    if not defaults:
        return []
    values = ", ".join(f"{name} {value:g}" for name, value in defaults.items())
    return [("sampling defaults", values, "if a request sets none")]


def _curl(model: str, url: str, task: ServedTask, *, has_template: bool, with_keys: bool) -> str:
    """An example request for the shell: a chat if the model has a chat template."""
    path = "completions"
    body: dict[str, object] = {"model": model}
    if task != "generate":
        path = "embeddings" if task == "embed" else "classify"
        body["input"] = "San Francisco is a city."
    elif not has_template:
        body["prompt"] = "San Francisco is a"
    else:
        path = "chat/completions"
        body["messages"] = [{"role": "user", "content": "What is the capital of France?"}]
    key = " -H 'Authorization: Bearer KEY'" if with_keys else ""
    base = url if path == "classify" else f"{url}/v1"
    return f"curl {base}/{path}{key} -H 'Content-Type: application/json' -d " + shlex.quote(
        json.dumps(body, ensure_ascii=False)
    )
