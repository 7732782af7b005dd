"""Replaces declared ports by a replica's host ports, in commands and variables.

Replicas on one host cannot all bind the declared port, so each gets free ones. In variables, only
``${PORT}`` and ``${PORT_<NAME>}`` are replaced. Commands should use ``$PORT``; in others, a
declared port is replaced if it is a separate word in the position of a port:

- after a colon and this host's name: ``:3000``, ``0.0.0.0:3000``, ``http://localhost:3000/v1``; but
  not ``example.com:3000``, unless it is what ``--listen`` or ``--bind`` says, and not the second of
  ``3000:3000``, which is the inner port of a container,
- as the value of a name that looks like a port or an address: ``--port 3000``,
  ``--port=3000``, ``-p 3000``, ``--http-port "3000"``, ``PORT=3000``, ``{"port": 3000}``,
  ``app.run(port=3000)``,
- as a positional argument: ``python -m http.server 3000``; but not after
  ``sleep`` and its like, whose argument is a time or a count.

So ``--max-model-len 3000`` and ``--timeout=3000`` are unchanged: a wrong length would go unnoticed,
whereas a replica with an unrecognized port does not become ready. ``13000``, ``3000ms``,
``3000.5``, ``/3000`` and ``$3000`` are other words.
"""

import re
from collections.abc import Iterable, Mapping

from headrace.control.manifests.fields.workload import PortSpec

_ADDRESS_NAME = re.compile(
    r"(?<!ex)(?<!im)(?<!re)(?<!sup)(?<!trans)(?<!pass)(?<!view)(?<!rap)port(?!ion|able|al|rait|folio)"
    r"|listen|bind|addr|endpoint|url|\bhost",
    re.IGNORECASE,
)
_ADDRESS_OPTIONS = frozenset({"-p", "-P"})

_TAKES_A_NUMBER = frozenset({"sleep", "timeout", "seq", "head", "tail", "kill", "nice", "ulimit"})
"""Commands whose plain argument is a time or a count."""

_THIS_HOST = re.compile(
    r"(.*[/@])?(localhost|127\.[0-9.]+|0\.0\.0\.0|\[?::1?\]?|\*|\$\w+|\$\{\w+\}|\$\(hostname\))?\Z"
)
_LISTENS = re.compile(r"listen|bind", re.IGNORECASE)

_WORD_ENDS = " \t\n\r\f\v;&|"
_QUOTES_AND_BRACKETS = "\"'`[({"
_WINDOW = 2048
"""Characters before a number that are examined. Keeps the work linear in the command's length."""

_PLACEHOLDER = re.compile(r"\$(\$?)\{(PORT(?:_[A-Z0-9_]+)?)\}")


def substitute_ports(command: str, host_ports: Mapping[int, int]) -> str:
    """The command with declared ports replaced by host ports, simultaneously."""
    if not host_ports:
        return command
    numbers = "|".join(str(port) for port in host_ports)
    pattern = re.compile(rf"(?<![\w.$@%+#/\\<>-])({numbers})(?![\w.%\\-])")

    def replaced(match: re.Match[str]) -> str:
        before = command[max(match.start() - _WINDOW, 0) : match.start()]
        is_port = _stands_for_a_port(before, command[match.end() : match.end() + 1])
        return str(host_ports[int(match.group())]) if is_port else match.group()

    return pattern.sub(replaced, command)


def fill_ports(value: str, variables: Mapping[str, str]) -> str:
    """A variable's value with ``${PORT}`` and ``${PORT_<NAME>}`` replaced from ``variables``.

    ``$${PORT}`` becomes the text ``${PORT}``; a name that is not in ``variables`` stays.
    """

    def filled(match: re.Match[str]) -> str:
        dollar, name = match.groups()
        if dollar:
            return match.group()[1:]
        return variables.get(name, match.group())

    return _PLACEHOLDER.sub(filled, value)


def unknown_port_variables(value: str, ports: Iterable[PortSpec]) -> list[str]:
    """Names of placeholders without a declared port."""
    names = [port.env_name for port in ports]
    known = {"PORT", *names} if names else set()
    found = (match.groups() for match in _PLACEHOLDER.finditer(value))
    return sorted({name for dollar, name in found if not dollar and name not in known})


def names_a_declared_port(name: str, value: str, ports: Iterable[PortSpec]) -> bool:
    """Whether a variable contains a declared port in a place where a port is expected."""
    if any(character.isspace() for character in value):
        return False
    assigned = f"{name}={value}"
    return substitute_ports(assigned, {port.port: 0 for port in ports}) != assigned


def port_environment(ports: Iterable[PortSpec], host_ports: Mapping[int, int]) -> dict[str, str]:
    """``PORT``: the first port that speaks HTTP; ``PORT_<NAME>``: each one.

    A port without a name has its declared number: ``PORT_3000``.
    """
    declared = [port for port in ports if port.port in host_ports]
    environment = {port.env_name: str(host_ports[port.port]) for port in declared}
    first = next((port for port in declared if port.type == "http"), None)
    first = first or next(iter(declared), None)
    if first is not None:
        environment["PORT"] = str(host_ports[first.port])
    return environment


def _stands_for_a_port(before: str, after: str) -> bool:
    """Whether a number between these two texts is one that a process listens on."""
    start = 1 + max(before.rfind(character) for character in _WORD_ENDS)
    lead = before[start:]  # the part of the number's own word before it
    bare = lead.rstrip(_QUOTES_AND_BRACKETS)
    if bare.endswith(":"):
        return _follows_a_host(bare[:-1], before[:start])
    if after.startswith("/") and not bare:
        return False  # a path or a fraction
    if bare.endswith("="):
        return _names_an_address(bare[:-1])
    if lead.endswith("("):
        return _names_an_address(bare)
    if bare.strip("0123456789,:") != "":
        name, equals, values = bare.rpartition("=")
        return bool(equals) and not values.strip("0123456789,") and _names_an_address(name)
    return _is_argument_for_a_port(before[:start])


def _follows_a_host(word: str, before: str) -> bool:
    """Whether a number after this word and a colon is a port of this host."""
    if word.endswith(('"', "'")):  # the key of a JSON object
        return _names_an_address(word)
    option, equals, _ = word.rpartition("=")
    host = re.split(r"[=,\"'`({]", word)[-1]
    if _THIS_HOST.match(host):
        return True
    if host.rpartition(":")[2].isdigit():  # the inner port of a container
        return False
    words = before.replace("\\\n", " ").split()
    says = option if equals else words[-1] if words else ""
    return _LISTENS.search(says) is not None


def _is_argument_for_a_port(before: str) -> bool:
    """Whether the word after this text is the value of an address option, or of none."""
    line = before.replace("\\\n", " ").rpartition("\n")[2]
    words = re.split(r"[;&|]", line)[-1].split()
    if not words:
        return True
    last = words[-1].strip(_QUOTES_AND_BRACKETS)
    if last.startswith("-") or last.endswith((":", "=")):
        return last in _ADDRESS_OPTIONS or _names_an_address(last)
    is_redirection = last.endswith((">", "<"))
    return not is_redirection and last.rpartition("/")[2] not in _TAKES_A_NUMBER


def _names_an_address(name: str) -> bool:
    last = re.split(r"[,({\s]", name.rstrip("\"' :=("))[-1]
    return last in _ADDRESS_OPTIONS or _ADDRESS_NAME.search(last) is not None
