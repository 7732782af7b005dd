"""Who may ask a service: by its keys or, where it has none, by the request's Host and Origin.

A web page can make a browser send requests to a gateway on loopback. A service that asks for no key
is therefore open to loopback hosts and origins alone, and to those that the operator adds
(`listen.origins`). Pages that may ask may also read the answers (`http.cors`). Knows no connections
and no replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.gateway.http.cors import Cors, CorsOptions, Preflight, is_preflight
from headrace.gateway.routing import refusals
from headrace.gateway.routing.decisions import Refused
from headrace.listen.origins import ANY, OriginPolicy

if TYPE_CHECKING:
    from headrace.gateway.http.http_request import Request
    from headrace.gateway.routing.topology import ServiceState

MAX_NAME_BYTES = 512
"""Of a Host or an Origin that may be accepted."""
MAX_NUM_KNOWN_HOSTS = 256


@dataclass(frozen=True)
class AccessOptions:
    """How the gateway was started."""

    is_loopback: bool = True
    """It listens on loopback only."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    """None given: every origin for services with keys, loopback for the others."""
    cors: CorsOptions = CorsOptions()


class Access:
    """For all services of one gateway."""

    def __init__(self, options: AccessOptions) -> None:
        policy = OriginPolicy(options.allowed_hosts, options.allowed_origins)
        self._is_guarded = options.is_loopback or bool(options.allowed_hosts)
        """Which hosts are ours is known."""
        self._allowed_origins = {one.rstrip("/").lower() for one in options.allowed_origins}
        self._allows_every_origin = ANY in self._allowed_origins
        self._cors = Cors(options.cors)
        self._policy = policy
        self._known_hosts: dict[bytes, bool] = {}
        """Whether hosts are accepted that were asked for lately."""

    def admit(
        self, service: ServiceState, request: Request, host: bytes | None
    ) -> Refused | Preflight | None:
        """The answer to a request that no replica gets; else None, and the request is completed
        with what its answers tell browsers, and without the key that was accepted. ``host``: the
        request's."""
        keys = service.keys
        is_guarded = self._is_guarded and not service.has_keys
        if is_guarded and host is not None and not self.accepts_host(host):
            return refusals.host_not_allowed(service.name)
        origin = request.noted.get(b"origin")
        if origin is not None:
            may_read = self._may_read(origin, has_keys=service.has_keys)
            if may_read:
                self._tell_browser(request, origin, has_keys=service.has_keys)
            if is_preflight(request):
                return self._cors.preflight(request) if may_read else refusals.origin_not_allowed()
            if is_guarded and not may_read:
                return refusals.origin_not_allowed()
        if not service.has_keys:
            return None
        held = [one for one in request.credentials if keys.admits(one[1])]
        if not any(request.is_alone(one) for one in held):
            return refusals.invalid_key(service.name)
        if not service.forwards_key:
            request.drop_credentials(held)
        return None

    def accepts_host(self, host: bytes | None) -> bool:
        """Whether a client without a key may call the gateway so; None: it names no host."""
        if host is None or not self._is_guarded:
            return True
        is_accepted = self._known_hosts.get(host)
        return self._look_up(host) if is_accepted is None else is_accepted

    def complete_unmatched(self, request: Request) -> None:
        """A request that no service is meant by: pages on loopback may read that."""
        origin = request.origin
        if origin is not None and self._may_read(origin, has_keys=False):
            self._tell_browser(request, origin, has_keys=False)

    def _may_read(self, origin: bytes, *, has_keys: bool) -> bool:
        if not has_keys:
            return len(origin) <= MAX_NAME_BYTES and self._policy.accepts_origin(
                origin.decode("latin-1")
            )
        if self._allows_every_origin or not self._allowed_origins:
            return True
        return origin.decode("latin-1").lower() in self._allowed_origins

    def _tell_browser(self, request: Request, origin: bytes, *, has_keys: bool) -> None:
        every = self._allows_every_origin or (has_keys and not self._allowed_origins)
        request.answer_headers = self._cors.answer_headers(origin, every)

    def _look_up(self, host: bytes) -> bool:
        if len(host) > MAX_NAME_BYTES:
            return False
        if len(self._known_hosts) >= MAX_NUM_KNOWN_HOSTS:
            self._known_hosts.clear()
        is_accepted = self._policy.accepts_host(host.decode("latin-1"))
        self._known_hosts[host] = is_accepted
        return is_accepted
