"""Plain HTTP/1.1 requests for tests, with every header under the test's control."""

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which must have OpenAI's shape."""
        (name, error) = next(iter(self.json.items()))
        assert name == "error"
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return dict(error)


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=60.0)


def request(
    url: str,
    method: str,
    path: str,
    body: bytes | str | Iterable[bytes] | None = None,
    **headers: str,
) -> Answer:
    """One request; header names are given with underscores."""
    connection = connect(url)
    try:
        connection.request(
            method,
            path,
            body.encode() if isinstance(body, str) else body,
            {name.replace("_", "-"): value for name, value in headers.items()},
        )
        response = connection.getresponse()
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


def post(url: str, path: str, body: object, **headers: str) -> Answer:
    """A body as JSON."""
    headers = {"content_type": "application/json", **headers}
    return request(url, "POST", path, json.dumps(body), **headers)
