"""Checks of new manifests for values that the system cannot launch: arguments, paths, git refs.

Stored specs are not checked again: a start that fails is a crash.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from headrace.control.manifests.fields.env import EnvValue
from headrace.control.manifests.fields.ports import unknown_port_variables
from headrace.control.manifests.fields.sources import Source, ref_fault
from headrace.control.manifests.fields.workload import Commands, ImageSpec, Ports
from headrace.control.manifests.parsing.problems import Path

MAX_SCRIPT_BYTES = 64 * 1024
"""Of all steps together. Half of Linux's limit for an argument, as paths and quotes grow."""
MAX_VARIABLE_BYTES = 64 * 1024
"""Of a name and its value. Half of Linux's limit, which is 128 KiB."""
MAX_ENVIRONMENT_BYTES = 512 * 1024
"""Of all variables, without secrets. Linux's limit is 2 MiB with all arguments."""
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
"""Of one part of a path."""
MAX_NUM_ITEMS = 100
"""In each list of a manifest, and in imports and exports."""
MAX_NUM_VARIABLES = 1000
MAX_TEXT_LENGTH = 4096
"""Characters of a message, a description or a name."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_IMAGE = re.compile(r"\A-|[\s\x00-\x1f\x7f]")

_Fault = tuple[Path, str]


class Workload(Protocol):
    """The fields that revisions and runs share."""

    tags: tuple[str, ...]
    image: ImageSpec | None
    imports: dict[str, Source]
    run: Commands
    args: str
    env: dict[str, EnvValue]
    ports: Ports


def launch_faults(spec: Workload) -> Iterator[_Fault]:
    """The path and the reason of each value that cannot be launched."""
    yield from _long_texts(spec)
    yield from _long_lists(spec)
    yield from _in_commands(spec)
    yield from _in_environment(spec)
    yield from _in_paths(spec)
    if spec.image is not None and _NO_IMAGE.search(spec.image.url):
        yield ("image",), "must be the name of an image, without spaces"
    for path, source in spec.imports.items():
        yield from _in_source(("import", path), source)


def _long_texts(spec: Workload) -> Iterator[_Fault]:
    for key in ("name", "message", "description", "model"):
        if len(getattr(spec, key) or "") > MAX_TEXT_LENGTH:
            yield (key,), _more_than(MAX_TEXT_LENGTH, "characters")
    for index, tag in enumerate(spec.tags):
        if len(tag) > MAX_TEXT_LENGTH:
            yield ("tags", index), _more_than(MAX_TEXT_LENGTH, "characters")


def _long_lists(spec: Workload) -> Iterator[_Fault]:
    lists = {
        "tags": spec.tags,
        "run": spec.run,
        "ports": spec.ports,
        "monitoring": getattr(spec, "monitoring", ()),
        "import": spec.imports,
        "export": _exports(spec),
    }
    for key, items in lists.items():
        if len(items) > MAX_NUM_ITEMS:
            yield (key,), _more_than(MAX_NUM_ITEMS, "entries")
    if len(spec.env) > MAX_NUM_VARIABLES:
        yield ("env",), _more_than(MAX_NUM_VARIABLES, "variables")


def _in_commands(spec: Workload) -> Iterator[_Fault]:
    reason = f"{_more_than(MAX_SCRIPT_BYTES // 1024, 'KiB')}; put it in a file, and import that"
    if _num_bytes(spec.args) > MAX_SCRIPT_BYTES:
        yield ("args",), reason
    total = 0
    for index, step in enumerate(spec.run):
        total += _num_bytes(step.command)
        if total > MAX_SCRIPT_BYTES:
            yield ("run", index, "command"), reason
            return


def _in_environment(spec: Workload) -> Iterator[_Fault]:
    total = 0
    for name, item in spec.env.items():
        num_bytes = _num_bytes(name) + _num_bytes(item.value or "")
        total += num_bytes
        if num_bytes > MAX_VARIABLE_BYTES:
            reason = _more_than(MAX_VARIABLE_BYTES // 1024, "KiB")
            yield ("env", name), f"{reason}; put it in a file, and import that"
        yield from _unknown_ports(spec, name, item)
    if total > MAX_ENVIRONMENT_BYTES:
        yield ("env",), f"{_more_than(MAX_ENVIRONMENT_BYTES // 1024, 'KiB')} in all"


def _unknown_ports(spec: Workload, name: str, item: EnvValue) -> Iterator[_Fault]:
    known = [f"${{{port.env_name}}}" for port in spec.ports]
    choice = f"it can be {', '.join(['${PORT}', *known])}" if known else "declare it in `ports`"
    for unknown in unknown_port_variables(item.value or "", spec.ports):
        reason = f"there is no port for ${{{unknown}}}; {choice}. "
        yield ("env", name), f"{reason}Write $${{{unknown}}} for the literal text"


def _in_paths(spec: Workload) -> Iterator[_Fault]:
    for index, step in enumerate(spec.run):
        if step.workdir is not None:
            yield from _in_path(("run", index, "workdir"), step.workdir)
    for path in spec.imports:
        yield from _in_path(("import", path), path)
    for path in _exports(spec):
        yield from _in_path(("export", path), path)


def _in_path(place: Path, path: str) -> Iterator[_Fault]:
    if _CONTROL.search(path):
        yield place, "contains a control character"
    elif _num_bytes(path) > MAX_PATH_BYTES:
        yield place, f"is longer than {MAX_PATH_BYTES} bytes"
    elif any(_num_bytes(part) > MAX_NAME_BYTES for part in path.split("/")):
        yield place, f"contains a name longer than {MAX_NAME_BYTES} bytes"


def _in_source(place: Path, source: Source) -> Iterator[_Fault]:
    ref = None if source.git is None else source.git.ref
    reason = None if ref is None else ref_fault(ref)
    if reason is not None:
        yield (*place, "git", "ref"), reason


def _exports(spec: Workload) -> Mapping[str, object]:
    """A revision has none."""
    found: Mapping[str, object] = getattr(spec, "exports", {})
    return found


def _num_bytes(text: str) -> int:
    return len(text.encode())


def _more_than(number: int, unit: str) -> str:
    return f"has more than {number} {unit}"
