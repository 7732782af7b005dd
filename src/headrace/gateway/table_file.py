"""Reads the route table's file when it changes, and validates it.

An invalid file is logged once, and the previous route table stays in use.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.core.errors import HeadraceError
from headrace.core.gateway.routes import RouteTable, ServiceRoute

logger = logging.getLogger("headrace.gateway")

MAX_PERIOD = 10_000
"""Maximum sum of a service's weights: the length of the split's sequence."""

_is_host = re.compile(r"[^\s\x00-\x20\x7f/@?#\[\]]+").fullmatch
"""A host as in a Host header, without a port and without the brackets of IPv6."""

_decode = msgspec.json.Decoder(RouteTable).decode


class RouteTableError(HeadraceError):
    """The route table's file cannot be read, or is invalid."""

    code = "invalid_route_table"


@dataclass(frozen=True, slots=True)
class _Signature:
    """Changes with every version of the file."""

    inode: int
    num_bytes: int
    modified_ns: int


class TableFile:
    """Returns each valid version of the file once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: _Signature | None = None
        self._was_missing = False

    def read_if_changed(self) -> RouteTable | None:
        """The table, if the file has changed and is valid."""
        try:
            stat = os.stat(self._path)
        except OSError as error:
            self._report_missing(error)
            return None
        self._was_missing = False
        signature = _Signature(stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if signature == self._seen:
            return None
        self._seen = signature
        try:
            return read_table(self._path)
        except RouteTableError as error:
            logger.error("%s Keeping the previous route table.", error)
            return None

    def _report_missing(self, error: OSError) -> None:
        if self._was_missing:
            return
        self._was_missing = True
        if self._seen is None and isinstance(error, FileNotFoundError):
            logger.info("No route table at %s yet: no routes loaded.", self._path)
            return
        self._seen = None  # a file that appears there is new
        logger.error(
            "Cannot read the route table %s (%s). Keeping the previous route table.",
            self._path,
            error.strerror,
        )


def read_table(path: Path) -> RouteTable:
    """Read and validate this file. Raises RouteTableError."""
    try:
        table = _decode(path.read_bytes())
    except OSError as error:
        raise RouteTableError(f"Cannot read the route table {path}: {error.strerror}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RouteTableError(f"The route table {path} is not valid: {error}.") from error
    names = set()
    for service in table.services:
        name = service.name.lower()
        problem = f"there are two services named {name}" if name in names else _problem(service)
        if problem is not None:
            raise RouteTableError(f"The route table {path} is not valid: {problem}.")
        names.add(name)
    return table


def _problem(service: ServiceRoute) -> str | None:
    """Why this service's route is invalid, or None."""
    name = service.name
    if not name:
        return "a service has no name"
    targets = {(target.revision, target.port) for target in service.targets}
    if len(targets) < len(service.targets):
        return f"service {name} lists a target twice"
    if any(target.weight < 0 for target in service.targets):
        return f"a target of service {name} has a negative weight"
    if sum(target.weight for target in service.targets) > MAX_PERIOD:
        return f"the weights of service {name} sum to more than {MAX_PERIOD}"
    for target in service.targets:
        for replica in target.replicas:
            if not _is_host(replica.host) or not 0 < replica.port < 65536:
                return f"replica {replica.replica_id} of service {name} has no valid address"
    sticky = service.sticky
    if sticky is not None and (sticky.header is None) is not sticky.user:
        return f"sticky of service {name} needs exactly one of header and user"
    if sticky is not None and sticky.header is not None and not sticky.header.isascii():
        return f"sticky of service {name}: {sticky.header!r} is not a header name"
    return None
