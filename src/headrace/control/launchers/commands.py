"""What a spec starts, as commands for the shell. Knows neither ports of this host nor folders."""

import shlex

from headrace.control.manifests.fields.workload import CommandSpec, Engine
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec

_SERVE: dict[Engine, str] = {"headrace": "headrace serve", "vllm": "vllm serve"}


def steps_of(spec: RevisionSpec | RunSpec) -> tuple[CommandSpec, ...]:
    """The commands, one after the other; each begins when the one before has succeeded."""
    if spec.model is None:
        return spec.run
    words = [_SERVE[spec.engine], shlex.quote(spec.model), "--port $PORT", spec.args.strip()]
    return (CommandSpec(command=" ".join(word for word in words if word)),)


def command_of(spec: RevisionSpec | RunSpec) -> str:
    """All steps as one text for one shell, so that what a step exports is there for the next.

    A step whose last line fails ends it with that line's exit code.
    """
    lines: list[str] = []
    steps = steps_of(spec)
    for index, step in enumerate(steps):
        if step.workdir is not None:
            lines.append(f"cd {shlex.quote(step.workdir)} || exit")
        lines.append(step.command.rstrip("\n"))
        if index < len(steps) - 1:
            lines.append("(exit $?) || exit")
    return "\n".join(lines)
