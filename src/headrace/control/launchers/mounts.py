"""Replaces mounted paths in commands by host paths, if there is no container.

A run's import at ``/code/`` is at ``ROOT/code``, below the run's root folder. In commands and
workdirs, such a path at the beginning of a word is replaced by the host's path.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec

_BEFORE = r"(?<![\w.$/~*?\\})`%+-])"
"""No character before a path may be part of a word; ``=`` and ``:`` separate words."""
_AFTER = r"(?=/|$|[\s;&|()<>\"'`,:=?*\[\]{}])"
_HARMLESS = re.compile(r"[\w@%+=:,./-]*\Z", re.ASCII)


def translate_paths(text: str, mounts: Mapping[str, Path]) -> str:
    """The command with all mounted paths replaced by host paths, simultaneously.

    Special characters in host paths are escaped according to the surrounding quotes.
    """
    if not mounts:
        return text
    hosts = {path.rstrip("/"): str(host) for path, host in mounts.items()}
    longest_first = sorted(hosts, key=len, reverse=True)
    names = "|".join(re.escape(path) for path in longest_first)
    pattern = re.compile(f"{_BEFORE}({names}){_AFTER}", re.MULTILINE)
    quotes = _Quotes(text)

    def replaced(match: re.Match[str]) -> str:
        quote = quotes.open_at(match.start())
        if not quote and text[match.start() - 1 : match.start()] in ("'", '"'):
            return match.group()  # the rest of "$HOME"/code
        host = hosts[match.group()]
        if _HARMLESS.match(host):
            return host
        return _escaped(host, quote)

    return pattern.sub(replaced, text)


def translate_workdir(workdir: str, mounts: Mapping[str, Path]) -> Path:
    """The host path of a workdir, which is a plain path and not shell text."""
    for path in sorted(mounts, key=len, reverse=True):
        point = path.rstrip("/")
        if workdir == point or workdir.startswith(f"{point}/"):
            return mounts[path] / workdir[len(point) :].lstrip("/")
    return Path(workdir)


def mount_paths(
    spec: RevisionSpec | RunSpec, root: Path, is_folder: Callable[[str], bool]
) -> dict[str, Path]:
    """Host paths of the spec's imports and exports, and of workdirs that this host lacks."""
    paths = [*spec.imports]
    if isinstance(spec, RunSpec):
        paths += spec.exports
    for step in spec.run:
        workdir = (step.workdir or "").rstrip("/")
        is_inside = any(workdir == path or workdir.startswith(f"{path}/") for path in paths)
        if workdir.startswith("/") and not is_inside and not is_folder(workdir):
            paths.append(workdir)
    return {path: root / path.lstrip("/") for path in paths}


class _Quotes:
    """Tracks the open quote of a shell text, in one pass from its beginning."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._quote = ""
        self._is_escaped = False
        self._is_comment = False

    def open_at(self, position: int) -> str:
        """The open quote; empty outside quotes. ``position`` must not decrease between calls."""
        for index in range(self._position, position):
            self._step(index, self._text[index])
        self._position = position
        return self._quote

    def _step(self, index: int, character: str) -> None:
        if self._is_comment:
            self._is_comment = character != "\n"
        elif self._is_escaped:
            self._is_escaped = False
        elif character == "\\" and self._quote != "'":
            self._is_escaped = True
        elif self._quote:
            self._quote = "" if character == self._quote else self._quote
        elif character in "\"'":
            self._quote = character
        elif character == "#" and (index == 0 or self._text[index - 1].isspace()):
            self._is_comment = True


def _escaped(path: str, quote: str) -> str:
    if quote == "'":
        return path.replace("'", "'\\''")
    minded = r'(["$`\\])' if quote == '"' else r"([^\w@%+=:,./-])"
    return re.sub(minded, r"\\\1", path)
