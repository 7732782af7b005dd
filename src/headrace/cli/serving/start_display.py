"""The output of ``headrace serve``: startup phases, settings, address, shutdown."""

import json
import shlex
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.engine.messages import StartupPhase
from headrace.server.served_model import ServedModel
from headrace.version import __version__


class StartDisplay:
    """Writes to stdout, as plain lines if it is not a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._console = Console(soft_wrap=not self._is_terminal, highlight=False)
        self._status = self._console.status("") if self._is_terminal else None

    def phase(self, phase: StartupPhase) -> None:
        """A startup phase of the engine core started, progressed or finished."""
        if self._status is None:
            if phase.seconds is not None:
                self._say(f"{phase.name}: {phase.seconds:.1f} s")
            return
        if phase.seconds is None:
            steps = f" {phase.done}/{phase.total}" if phase.total else ""
            self._status.update(f"{phase.name}{steps} …")
            self._status.start()

    def ready(self, served: ServedModel, url: str) -> None:
        self.stop()
        self._show_table(served)
        name = served.names[0]
        self._say(f"Headrace {__version__} serves {name} at {url}/v1")
        self._say(_curl(served, url))

    def draining(self, num_unfinished: int, timeout_s: float) -> None:
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


def _curl(served: ServedModel, url: str) -> str:
    """An example request for the shell: a chat if the model has a chat template."""
    path = "completions"
    body: dict[str, object]
    if served.task != "generate":
        path = "embeddings" if served.task == "embed" else "classify"
        body = {"model": served.names[0], "input": "San Francisco is a city."}
    elif served.chat_template.source is None:
        body = {"model": served.names[0], "prompt": "San Francisco is a"}
    else:
        path = "chat/completions"
        message = {"role": "user", "content": "What is the capital of France?"}
        body = {"model": served.names[0], "messages": [message]}
    key = " -H 'Authorization: Bearer KEY'" if served.config.api_key else ""
    base = url if path == "classify" else f"{url}/v1"
    return f"curl {base}/{path}{key} -H 'Content-Type: application/json' -d " + shlex.quote(
        json.dumps(body, ensure_ascii=False)
    )
