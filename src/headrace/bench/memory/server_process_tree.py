"""The server's processes on this machine, found by the port it listens on."""

import ipaddress
import socket
import time
from contextlib import suppress

import psutil

from headrace.bench.http.address import Address, parse_address

RELIST_EVERY_S = 5.0
"""Listing children reads all processes of the machine, too slow for every sample."""


class ProcessTree:
    """One or more processes and their descendants."""

    def __init__(self, root_pids: list[int]) -> None:
        self.root_pids = root_pids
        self._processes: list[psutil.Process] = []
        self._listed_at = float("-inf")

    @property
    def pids(self) -> set[int]:
        return {process.pid for process in self._members(time.monotonic())}

    def resident_bytes(self) -> int | None:
        """Sum of RSS; shared pages count once per process. None if all processes are gone."""
        sizes = []
        for process in self._members(time.monotonic()):
            with suppress(psutil.Error):
                sizes.append(process.memory_info().rss)
        return sum(sizes) if sizes else None

    def _members(self, now: float) -> list[psutil.Process]:
        if now - self._listed_at >= RELIST_EVERY_S:
            self._listed_at = now
            found: dict[int, psutil.Process] = {}
            for pid in self.root_pids:
                with suppress(psutil.Error):
                    root = psutil.Process(pid)
                    found[pid] = root
                    found |= {child.pid: child for child in root.children(recursive=True)}
            self._processes = list(found.values())
        return self._processes


def find_server(base_url: str) -> ProcessTree | None:
    """The processes that listen on this address; None if remote or not visible."""
    address = parse_address(base_url)
    if not _is_here(address):
        return None
    listeners = _listeners(address.port)
    roots = [pid for pid in listeners if not _has_ancestor_in(pid, listeners)]
    return ProcessTree(sorted(roots)) if roots else None


def _is_here(address: Address) -> bool:
    own = {
        each.address.partition("%")[0] for all_ in psutil.net_if_addrs().values() for each in all_
    }
    try:
        addresses = {
            info[4][0] for host in address.connect_hosts for info in socket.getaddrinfo(host, None)
        }
    except OSError:
        return False
    return any(
        str(address) in own or ipaddress.ip_address(str(address).partition("%")[0]).is_loopback
        for address in addresses
    )


def _listeners(port: int) -> set[int]:
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return set()
    return {
        connection.pid
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.port == port
        and connection.pid is not None
    }


def _has_ancestor_in(pid: int, pids: set[int]) -> bool:
    try:
        return any(parent.pid in pids for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False
