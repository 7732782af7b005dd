"""Access control: a service's API keys or, without keys, the request's Host and Origin.

A web page can make a browser send requests to a gateway on loopback. A service without keys
therefore accepts only loopback hosts and origins, and those that the operator adds
(`listen.origins`). Pages that may send requests may also read the responses (`http.cors`).
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.gateway import errors
from headrace.gateway.http.cors import Cors, CorsOptions, is_preflight
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.local_reply import LocalReply
from headrace.gateway.routing.topology import ServiceState
from headrace.listen.origins import ANY, OriginPolicy

MAX_NAME_BYTES = 512
"""Of a Host or an Origin; longer ones are rejected."""
MAX_NUM_CACHED_HOSTS = 256


@dataclass(frozen=True)
class AccessOptions:
    """From the command line of the gateway."""

    is_loopback: bool = True
    """The gateway listens on loopback only."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    """Empty: every origin for services with keys, loopback for the others."""
    cors: CorsOptions = CorsOptions()


class Access:
    """The access policy of one gateway, for all services."""

    def __init__(self, options: AccessOptions) -> None:
        policy = OriginPolicy(options.allowed_hosts, options.allowed_origins)
        self._is_guarded = options.is_loopback or bool(options.allowed_hosts)
        """The host names of the gateway are known."""
        self._allowed_origins = {one.rstrip("/").lower() for one in options.allowed_origins}
        self._allows_every_origin = ANY in self._allowed_origins
        self._cors = Cors(options.cors)
        self._policy = policy
        self._cached_hosts: dict[bytes, bool] = {}
        """Whether recent hosts are accepted."""

    def admit(
        self, service: ServiceState, request: Request, host: bytes | None
    ) -> LocalReply | None:
        """The reply to a request that is not forwarded; else None, and the request is completed:
        CORS headers are added to its responses, and the accepted key is removed. ``host``: the
        request's."""
        keys = service.keys
        is_guarded = self._is_guarded and not service.has_keys
        if is_guarded and host is not None and not self.accepts_host(host):
            return errors.host_not_allowed(service.name)
        origin = request.inspected.get(b"origin")
        if origin is not None:
            may_read = self._may_read(origin, has_keys=service.has_keys)
            if may_read:
                self._add_cors_headers(request, origin, has_keys=service.has_keys)
            if is_preflight(request):
                return self._cors.preflight(request) if may_read else errors.origin_not_allowed()
            if is_guarded and not may_read:
                return errors.origin_not_allowed()
        if not service.has_keys:
            return None
        admitted = {
            one: name for one in request.credentials if (name := keys.name_of(one[1])) is not None
        }
        name = next((admitted[one] for one in admitted if request.is_only_header(one)), None)
        if name is None:
            return errors.invalid_api_key(service.name)
        request.key_name = name
        if not service.forwards_key:
            request.drop_credentials(admitted)
        return None

    def accepts_host(self, host: bytes | None) -> bool:
        """Whether a client without a key may use this host; None: the request has none."""
        if host is None or not self._is_guarded:
            return True
        is_accepted = self._cached_hosts.get(host)
        return self._look_up(host) if is_accepted is None else is_accepted

    def complete_unmatched(self, request: Request) -> None:
        """A request for an unknown service: pages on loopback may read the error."""
        origin = request.origin
        if origin is not None and self._may_read(origin, has_keys=False):
            self._add_cors_headers(request, origin, has_keys=False)

    def _may_read(self, origin: bytes, *, has_keys: bool) -> bool:
        if not has_keys:
            return len(origin) <= MAX_NAME_BYTES and self._policy.accepts_origin(
                origin.decode("latin-1")
            )
        if self._allows_every_origin or not self._allowed_origins:
            return True
        return origin.decode("latin-1").lower() in self._allowed_origins

    def _add_cors_headers(self, request: Request, origin: bytes, *, has_keys: bool) -> None:
        every = self._allows_every_origin or (has_keys and not self._allowed_origins)
        request.response_headers = self._cors.response_headers(origin, every)

    def _look_up(self, host: bytes) -> bool:
        if len(host) > MAX_NAME_BYTES:
            return False
        if len(self._cached_hosts) >= MAX_NUM_CACHED_HOSTS:
            self._cached_hosts.clear()
        is_accepted = self._policy.accepts_host(host.decode("latin-1"))
        self._cached_hosts[host] = is_accepted
        return is_accepted
