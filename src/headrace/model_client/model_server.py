"""The HTTP client of a model server: where it is, its models, and its streams."""

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from headrace.core.errors import HeadraceError, InvalidInputError

_CONNECT_TIMEOUT_S = 10.0
_MAX_SHOWN = 500


class ModelServerError(HeadraceError):
    """The model server refused a request, failed, or cannot be reached."""

    code = "model_server_error"

    def __init__(self, message: str, status: int | None = None) -> None:
        """status: of the HTTP response; None without a response."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ServerAddress:
    """Where a model server is, and the key that it takes."""

    base_url: str
    """http://host:port and a path before ``/v1``, if there is one."""
    api_key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}

    def url_of(self, path: str) -> str:
        """path: such as ``/v1/models``."""
        return f"{self.base_url}{path}"


def parse_server_url(url: str, api_key: str | None = None) -> ServerAddress:
    """The address of a URL with or without ``/v1`` at its end; raises InvalidInputError."""
    url = url.strip()
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInputError("--url must be like http://127.0.0.1:8000 (no query, no user).")
    key = (api_key or "").strip() or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidInputError("The API key has characters that an HTTP header cannot have.")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return ServerAddress(f"{parts.scheme}://{parts.netloc}{path}", key)


class ModelServer:
    """A client of one model server. A context manager that closes its connections."""

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        self._http = httpx2.Client(
            headers=address.headers,
            timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S),
            trust_env=False,
        )

    def __enter__(self) -> "ModelServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def models(self) -> list[str]:
        """The names of its models; raises ModelServerError."""
        try:
            response = self._http.get(self._address.url_of("/v1/models"))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        body = _json_of(response.content)
        if response.status_code != 200:
            raise _refused(response.status_code, body)
        data = body.get("data")
        if not isinstance(data, list):
            raise ModelServerError(f"{self._address.base_url}/v1/models lists no models.")
        return [str(each["id"]) for each in data if isinstance(each, dict) and "id" in each]

    def stream(self, path: str, body: dict[str, Any]) -> Generator[dict[str, Any]]:
        """The chunks of a streamed response. Closing the iterator cancels the request.

        Raises ModelServerError, after the chunks before the failure.
        """
        url = self._address.url_of(path)
        try:
            with self._http.stream("POST", url, json={**body, "stream": True}) as response:
                if response.status_code != 200:
                    raise _refused(response.status_code, _json_of(response.read()))
                for line in response.iter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line[5:].strip()
                    if data == "[DONE]":
                        return
                    chunk = _json_of(data.encode())
                    if "error" in chunk:
                        raise _refused(None, chunk)
                    yield chunk
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        raise ModelServerError("The connection ended before the response was complete.")

    def _unreachable(self, error: Exception) -> ModelServerError:
        reason = str(error) or type(error).__name__
        return ModelServerError(f"No response from {self._address.base_url}: {reason}.")


def error_message(body: dict[str, Any]) -> str:
    """The message of an error in OpenAI's shape, shortened; empty if there is none."""
    error = body.get("error", body)
    message = error.get("message", "") if isinstance(error, dict) else error
    return str(message)[:_MAX_SHOWN]


def _refused(status: int | None, body: dict[str, Any]) -> ModelServerError:
    message = error_message(body) or f"The server responded with status {status}."
    if status == 401:
        message += " Set HEADRACE_API_KEY to the server's key."
    return ModelServerError(message, status)


def _json_of(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
