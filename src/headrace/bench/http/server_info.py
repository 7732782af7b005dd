"""Queries a server's models, version and weight type.

It uses the OpenAI API's /v1/models, and /version of Headrace and vLLM; it sends no prompts.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from headrace.bench.errors import ServerError
from headrace.bench.http.address import parse_address, plain_base_url
from headrace.bench.http.credentials import authorization, hide_key
from headrace.bench.http.get import NoReplyError, get
from headrace.bench.http.tls import client_context
from headrace.bench.records import BenchTarget
from headrace.bench.redaction import url_without_secrets

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server reports about itself."""

    model: str
    """The ``model`` of requests."""
    card: dict[str, Any] = field(default_factory=dict)
    """The model's entry in /v1/models; empty if the server does not list it."""
    version: str | None = None
    dtype: str | None = None
    """Of the weights, if the card has it."""


def find_target(
    base_url: str,
    model: str | None,
    api_key: str | None = None,
    name: str = "server",
    ca_certs: Path | None = None,
) -> BenchTarget:
    """The target; without ``model``, with the first name in its /v1/models.

    Raises OptionError for invalid options, ServerError if the server does not respond.
    """
    target = BenchTarget(name, plain_base_url(base_url), model or "", api_key, ca_certs)
    authorization(api_key)  # raises OptionError early
    client_context(is_tls=False, ca_certs=ca_certs)
    return target if model else replace(target, model=_first_model(target))


def ask_server(target: BenchTarget) -> ServerInfo:
    """What the server reports; a server that reports nothing is no error."""
    try:
        cards = _cards(target)
        card = next((card for card in cards if card.get("id") == target.model), {})
        card = _without_key(card, target.api_key)
    except (ServerError, RecursionError):
        card = {}
    dtype = card.get("dtype")
    return ServerInfo(
        model=target.model,
        card=card,
        version=_version(target),
        dtype=dtype if isinstance(dtype, str) else None,
    )


def _first_model(target: BenchTarget) -> str:
    for card in _cards(target):
        if isinstance(name := card.get("id"), str) and name:
            return name
    raise ServerError(f"{target.base_url}/v1/models lists no model; set --model.")


def _cards(target: BenchTarget) -> list[dict[str, Any]]:
    body = _get_json(target, "/v1/models")
    cards = body.get("data") if isinstance(body, dict) else None
    if not isinstance(cards, list):
        raise ServerError(f"{target.base_url}/v1/models is not a list of models; set --model.")
    return [card for card in cards if isinstance(card, dict)]


def _version(target: BenchTarget) -> str | None:
    try:
        body = _get_json(target, "/version")
    except ServerError:
        return None
    version = body.get("version") if isinstance(body, dict) else None
    return hide_key(version, target.api_key) if isinstance(version, str) else None


def _get_json(target: BenchTarget, path: str) -> Any:
    address = parse_address(target.base_url)
    url = target.base_url + path
    tls = client_context(address.is_tls, target.ca_certs)
    try:
        reply = get(address, path, tls=tls, api_key=target.api_key)
    except NoReplyError as error:
        reason = hide_key(str(error), target.api_key)
        raise ServerError(
            f"No response from {url} ({reason}). Check that the server is up, and --base-url."
        ) from error
    if reply.status in (401, 403):
        raise ServerError(
            f"{url} requires an API key (HTTP {reply.status}); set --api-key or OPENAI_API_KEY."
        )
    if 300 <= reply.status < 400:
        there = hide_key(url_without_secrets(reply.location or "elsewhere"), target.api_key)
        raise ServerError(
            f"{url} redirects to {there} (HTTP {reply.status}). Use that address as --base-url."
        )
    if not 200 <= reply.status < 300:
        raise ServerError(f"{url} responded with HTTP {reply.status}.")
    try:
        return msgspec.json.decode(reply.body.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerError(f"The response of {url} is not JSON.") from error


def _without_key(value: Any, api_key: str | None) -> Any:
    """The same, with the key removed from its strings."""
    if isinstance(value, str):
        return hide_key(value, api_key)
    if isinstance(value, list):
        return [_without_key(each, api_key) for each in value]
    if isinstance(value, dict):
        return {
            hide_key(name, api_key): _without_key(each, api_key) for name, each in value.items()
        }
    return value
