"""A client for the control plane's API, for the command line and for scripts.

By default it connects to the local platform, whose address and token are in its home.
``$HEADRACE_API_URL`` and ``$HEADRACE_API_TOKEN`` select another one.
"""

import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from headrace.control.api.responses import (
    DashboardLinkView,
    EventView,
    GatewayView,
    HistoryView,
    KeyView,
    NewKeyView,
    NewTokenView,
    ReplicaView,
    RequestTimelineView,
    RequestView,
    RevisionView,
    RunView,
    SecretView,
    ServiceView,
    TerminatedView,
    TokenView,
    UsageView,
)
from headrace.control.errors import ControlApiError
from headrace.control.layout import Layout
from headrace.control.pinned_certificate import trusting_only

URL_VARIABLE = "HEADRACE_API_URL"
TOKEN_VARIABLE = "HEADRACE_API_TOKEN"

_TIMEOUT_S = 60.0
_MAX_NUM_A_PAGE = 1000

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Address and token of an API."""

    url: str
    token: str = field(repr=False)
    certificate: str | None = None
    """In PEM: the only trusted certificate. None: trust the system's authorities."""


def find_credentials(layout: Layout, environ: Mapping[str, str] = os.environ) -> Credentials:
    """From the environment, else those of this home's platform.

    Raises ControlApiError if there are none, or they are invalid.
    """
    url, token = environ.get(URL_VARIABLE), environ.get(TOKEN_VARIABLE)
    if url and not token:  # never send the local token to another host
        raise ControlApiError(
            f"{URL_VARIABLE} is set without {TOKEN_VARIABLE}. Set it to a token of that platform.",
            "no_credentials",
        )
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ControlApiError(
            f"{TOKEN_VARIABLE} is not a token: it contains an invalid character.",
            "invalid_credentials",
        )
    if url and token:
        return Credentials(_checked_url(url), token)
    try:
        kept = json.loads(layout.credentials.read_text())
        return Credentials(str(kept["url"]), token or str(kept["token"]), kept.get("certificate"))
    except (OSError, ValueError, KeyError, TypeError):
        raise ControlApiError(
            f"No platform was started in {layout.home}. Start one with `headrace up`, or set "
            f"{URL_VARIABLE} and {TOKEN_VARIABLE} to the address and a token of another one.",
            "no_credentials",
        ) from None


class ControlClient:
    """One connection to the control plane. Every method raises ControlApiError."""

    def __init__(self, credentials: Credentials) -> None:
        self._url = credentials.url
        self._http = httpx2.Client(
            base_url=credentials.url,
            headers={"Authorization": f"Bearer {credentials.token}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
            verify=_tls_context(credentials),
        )

    @property
    def url(self) -> str:
        """The API's address."""
        return self._url

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def services(self) -> list[ServiceView]:
        return self._list(ServiceView, "/v1/services")

    def create_service(self, name: str) -> ServiceView:
        return self._one(ServiceView, "POST", "/v1/services", body={"name": name})

    def service(self, name: str) -> ServiceView:
        return self._one(ServiceView, "GET", f"/v1/services/{_part(name)}")

    def delete_service(self, name: str) -> None:
        self._send("DELETE", f"/v1/services/{_part(name)}")

    def revisions(self, service: str, *, limit: int = 100) -> list[RevisionView]:
        """The newest ``limit``, oldest first."""
        path = f"/v1/services/{_part(service)}/revisions"
        return self._newest(RevisionView, path, limit, lambda oldest: oldest.number)

    def create_revision(self, service: str, manifest: str, file: str, folder: str) -> RevisionView:
        path = f"/v1/services/{_part(service)}/revisions"
        return self._one(RevisionView, "POST", path, manifest=manifest, file=file, folder=folder)

    def revision(self, service: str, number: int) -> RevisionView:
        return self._one(RevisionView, "GET", f"/v1/services/{_part(service)}/revisions/{number}")

    def terminate_revision(self, service: str, number: int) -> TerminatedView:
        path = f"/v1/services/{_part(service)}/revisions/{number}/terminate"
        return self._one(TerminatedView, "POST", path)

    def gateway(self, service: str) -> GatewayView:
        return self._one(GatewayView, "GET", f"/v1/services/{_part(service)}/gateway")

    def update_gateway(self, service: str, manifest: str, file: str, folder: str) -> GatewayView:
        path = f"/v1/services/{_part(service)}/gateway"
        return self._one(GatewayView, "PUT", path, manifest=manifest, file=file, folder=folder)

    def replicas(
        self, service: str, *, revision: int | None = None, limit: int = 100
    ) -> list[ReplicaView]:
        """The newest ``limit``, oldest first."""
        path = f"/v1/services/{_part(service)}/replicas"
        query = {} if revision is None else {"revision": revision}
        return self._newest(ReplicaView, path, limit, lambda oldest: oldest.replica_id, query)

    def replica_log(
        self, service: str, replica_id: str, *, follow: bool, num_lines: int | None
    ) -> Iterator[bytes]:
        path = f"/v1/services/{_part(service)}/replicas/{_part(replica_id)}/log"
        return self._log(path, follow=follow, num_lines=num_lines)

    def history(self, service: str, period: str = "hour") -> HistoryView:
        """``period``: ``hour``, ``day`` or ``month``."""
        path = f"/v1/services/{_part(service)}/history?period={quote(period, safe='')}"
        return self._one(HistoryView, "GET", path)

    def events(
        self, *, service: str | None = None, run_id: str | None = None, limit: int = 100
    ) -> list[EventView]:
        """The newest ``limit``, oldest first."""
        asked = {"service": service, "run": run_id}
        query = {key: value for key, value in asked.items() if value is not None}
        return self._newest(EventView, "/v1/events", limit, lambda one: one.event_id, query)

    def requests(
        self,
        *,
        service: str | None = None,
        revision: int | None = None,
        status: str | None = None,
        limit: int = 100,
    ) -> list[RequestView]:
        """The newest ``limit`` that match, oldest first."""
        asked = {"service": service, "revision": revision, "status": status}
        return self._newest(RequestView, "/v1/requests", limit, lambda one: one.record_id, asked)

    def usage(self, **query: str | int | Sequence[str] | None) -> list[UsageView]:
        """The parameters are those of ``GET /v1/usage``."""
        return self._list(UsageView, "/v1/usage", query)

    def request(self, record_id: str) -> RequestTimelineView:
        return self._one(RequestTimelineView, "GET", f"/v1/requests/{_part(record_id)}")

    def keys(self, service: str) -> list[KeyView]:
        return self._list(KeyView, f"/v1/services/{_part(service)}/keys")

    def create_key(self, service: str, name: str) -> NewKeyView:
        path = f"/v1/services/{_part(service)}/keys"
        return self._one(NewKeyView, "POST", path, body={"name": name})

    def delete_key(self, service: str, name: str) -> None:
        self._send("DELETE", f"/v1/services/{_part(service)}/keys/{_part(name)}")

    def runs(self, *, limit: int = 100) -> list[RunView]:
        """The newest ``limit``, oldest first."""
        return self._newest(RunView, "/v1/runs", limit, lambda oldest: oldest.run_id)

    def create_run(self, manifest: str, file: str, folder: str) -> RunView:
        return self._one(RunView, "POST", "/v1/runs", manifest=manifest, file=file, folder=folder)

    def run(self, run_id: str) -> RunView:
        return self._one(RunView, "GET", f"/v1/runs/{_part(run_id)}")

    def reproduce_run(self, run_id: str) -> RunView:
        return self._one(RunView, "POST", f"/v1/runs/{_part(run_id)}/reproduce")

    def terminate_run(self, run_id: str) -> RunView:
        return self._one(RunView, "POST", f"/v1/runs/{_part(run_id)}/terminate")

    def delete_run(self, run_id: str) -> None:
        self._send("DELETE", f"/v1/runs/{_part(run_id)}")

    def run_log(self, run_id: str, *, follow: bool, num_lines: int | None) -> Iterator[bytes]:
        return self._log(f"/v1/runs/{_part(run_id)}/log", follow=follow, num_lines=num_lines)

    def tokens(self) -> list[TokenView]:
        return self._list(TokenView, "/v1/tokens")

    def create_token(self, name: str, role: str) -> NewTokenView:
        body = {"name": name, "role": role}
        return self._one(NewTokenView, "POST", "/v1/tokens", body=body)

    def delete_token(self, name: str) -> None:
        self._send("DELETE", f"/v1/tokens/{_part(name)}")

    def secrets(self) -> list[SecretView]:
        return self._list(SecretView, "/v1/secrets")

    def put_secret(self, name: str, value: str) -> None:
        self._send("PUT", f"/v1/secrets/{_part(name)}", body={"value": value})

    def delete_secret(self, name: str) -> None:
        self._send("DELETE", f"/v1/secrets/{_part(name)}")

    def create_dashboard_link(self) -> DashboardLinkView:
        return self._one(DashboardLinkView, "POST", "/v1/dashboard/links")

    def _newest(
        self,
        kind: type[Answer],
        path: str,
        limit: int,
        cursor: Callable[[Answer], int | str],
        query: Mapping[str, Any] | None = None,
    ) -> list[Answer]:
        """Read pages until there are ``limit`` entries, or no more."""
        found: list[Answer] = []
        before: dict[str, int | str] = {}
        while len(found) < limit:
            num_asked = min(limit - len(found), _MAX_NUM_A_PAGE)
            page = self._list(kind, path, {**(query or {}), **before, "limit": num_asked})
            found = [*page, *found]
            if len(page) < num_asked:
                break
            before = {"before": cursor(page[0])}
        return found

    def _list(
        self, kind: type[Answer], path: str, query: Mapping[str, Any] | None = None
    ) -> list[Answer]:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        answer = self._send("GET", path, query=given)
        try:
            return TypeAdapter(list[kind]).validate_json(answer)  # type: ignore[valid-type]
        except ValidationError:
            raise self._unexpected_response() from None

    def _one(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        manifest: str | None = None,
        file: str = "",
        folder: str = "",
    ) -> Answer:
        answer = self._send(method, path, body=body, manifest=manifest, file=file, folder=folder)
        try:
            return kind.model_validate_json(answer)
        except ValidationError:
            raise self._unexpected_response() from None

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        manifest: str | None = None,
        file: str = "",
        folder: str = "",
    ) -> bytes:
        try:
            if manifest is not None:
                answer = self._http.request(
                    method,
                    path,
                    params={"file": file, "folder": folder},
                    content=manifest.encode(),
                    headers={"Content-Type": "application/yaml"},
                )
            else:
                answer = self._http.request(method, path, params=query, json=body)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if not answer.is_success:
            raise _api_error(answer.status_code, answer.content)
        return answer.content

    def _log(self, path: str, *, follow: bool, num_lines: int | None) -> Iterator[bytes]:
        query = {"follow": str(follow).lower()}
        if num_lines is not None:
            query["lines"] = str(num_lines)
        try:
            with self._http.stream("GET", path, params=query, timeout=None) as answer:
                if not answer.is_success:
                    raise _api_error(answer.status_code, answer.read())
                yield from answer.iter_raw()
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: httpx2.HTTPError) -> ControlApiError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            reason = str(error).partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
            return ControlApiError(
                f"The certificate of the control plane at {self._url} is not trusted: {reason}. "
                "Set SSL_CERT_FILE to the certificate of the authority that signed it.",
                "untrusted_certificate",
            )
        return ControlApiError(
            f"Cannot connect to the control plane at {self._url} ({type(error).__name__}). "
            "Check `headrace status`; start it with `headrace up`.",
            "unreachable",
        )

    def _unexpected_response(self) -> ControlApiError:
        return ControlApiError(
            f"Unexpected response from {self._url}: not a Headrace control plane, or another "
            "version.",
            "unexpected_response",
        )


def _tls_context(credentials: Credentials) -> ssl.SSLContext:
    """Trusts the credentials' certificate; else ``$SSL_CERT_FILE`` or ``$SSL_CERT_DIR``; else the
    system's authorities."""
    if credentials.certificate is not None:
        return trusting_only(credentials.certificate)
    if credentials.url.startswith("https://"):
        return httpx2.create_ssl_context(trust_env=True)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP: never used


def _checked_url(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
        is_address = parsed.scheme in ("http", "https") and parsed.host != ""
    except httpx2.InvalidURL:
        is_address = False
    if not is_address or parsed.userinfo:  # error messages would show a password
        raise ControlApiError(
            f"{URL_VARIABLE} must be the address of a control plane, such as "
            "http://127.0.0.1:8090.",
            "invalid_credentials",
        )
    return url.rstrip("/")


def _part(name: str) -> str:
    """A quoted path segment. Raises ControlApiError if no resource can have this name."""
    if not name or "/" in name or name in (".", ".."):
        raise ControlApiError(
            f"'{name}' is not a valid name. Use letters, digits, '-', '_' and '.'.",
            "invalid_name",
        )
    return quote(name, safe="", errors="replace")


def _api_error(status: int, content: bytes) -> ControlApiError:
    try:
        error = json.loads(content)["error"]
        return ControlApiError(str(error["message"]), str(error.get("type", "error")))
    except (ValueError, KeyError, TypeError, AttributeError):
        text = content[:200].decode(errors="replace")
        return ControlApiError(f"The control plane returned {status}: {text}")
