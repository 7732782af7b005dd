"""The shell commands of a spec."""

import shlex

from headrace.control.manifests.fields.workload import CommandSpec, Engine
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec

_SERVE: dict[Engine, str] = {"headrace": "headrace serve", "vllm": "vllm serve"}


def steps_of(spec: RevisionSpec | RunSpec) -> tuple[CommandSpec, ...]:
    """The steps in order; each starts after the previous one has succeeded."""
    if spec.model is None:
        return spec.run
    words = [_SERVE[spec.engine], shlex.quote(spec.model), "--port $PORT", spec.args.strip()]
    return (CommandSpec(command=" ".join(word for word in words if word)),)


def command_of(spec: RevisionSpec | RunSpec) -> str:
    """All steps as one shell script, so that exported variables are visible to later steps.

    A step whose last line fails ends the script with that line's exit code.
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
