"""Asks a server who it is: the models it serves, its version, the type of its weights.

Knows the OpenAI API's /v1/models and the /version that Headrace and vLLM have; sends no prompts.
"""

from dataclasses import dataclass, field
from typing import Any

from headrace.bench.errors import ServerError
from headrace.bench.records import Target
from headrace.bench.results.command_line import url_without_secrets

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself."""

    model: str
    """The name that requests ask for."""
    card: dict[str, Any] = field(default_factory=dict)
    """The model's entry in /v1/models as it came; empty if the server does not list it."""
    version: str | None = None
    dtype: str | None = None
    """Of the weights, if the card tells."""


def plain_base_url(url: str) -> str:
    """``http://host:port`` of what a user wrote: with or without scheme, slash or ``/v1``."""
    url = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    if not url:
        raise ServerError("The server's address is empty; write --base-url http://host:port.")
    return url if "://" in url else f"http://{url}"


def find_target(
    base_url: str, model: str | None, api_key: str | None = None, name: str = "server"
) -> Target:
    """The target, by the first name in its /v1/models where no model is given."""
    base_url = plain_base_url(base_url)
    return Target(name, base_url, model or _first_model(base_url, api_key), api_key)


def ask_server(target: Target) -> ServerInfo:
    """What the server tells; a server that tells nothing is no error here."""
    try:
        cards = _cards(target.base_url, target.api_key)
    except ServerError:
        cards = []
    card = next((card for card in cards if card.get("id") == target.model), {})
    dtype = card.get("dtype")
    return ServerInfo(
        model=target.model,
        card=card,
        version=_version(target),
        dtype=dtype if isinstance(dtype, str) else None,
    )


def _first_model(base_url: str, api_key: str | None) -> str:
    for card in _cards(base_url, api_key):
        if isinstance(name := card.get("id"), str):
            return name
    raise ServerError(f"{_shown(base_url)}/v1/models lists no model; name one with --model.")


def _cards(base_url: str, api_key: str | None) -> list[dict[str, Any]]:
    body = _get_json(f"{base_url}/v1/models", api_key)
    cards = body.get("data") if isinstance(body, dict) else None
    if not isinstance(cards, list):
        raise ServerError(f"{_shown(base_url)}/v1/models is no list of models; use --model.")
    return [card for card in cards if isinstance(card, dict)]


def _version(target: Target) -> str | None:
    try:
        body = _get_json(f"{target.base_url}/version", target.api_key)
    except ServerError:
        return None
    version = body.get("version") if isinstance(body, dict) else None
    return version if isinstance(version, str) else None


def _get_json(url: str, api_key: str | None) -> Any:
    import httpx2  # slow to import

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        response = httpx2.get(url, headers=headers, timeout=TIMEOUT_S)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ServerError(
            f"No answer from {_shown(url)} ({_reason(error)}). Is the server up? "
            "--base-url says where it is."
        ) from error
    if response.status_code in (401, 403):
        raise ServerError(
            f"{_shown(url)} wants an API key (HTTP {response.status_code}); give it with "
            "--api-key or in OPENAI_API_KEY."
        )
    if response.is_redirect:
        there = _shown(response.headers.get("location", "elsewhere"))
        raise ServerError(
            f"{_shown(url)} sends clients to {there} (HTTP {response.status_code}). Give the "
            "address that answers itself as --base-url."
        )
    if response.status_code >= 400:
        raise ServerError(f"{_shown(url)} answered with HTTP {response.status_code}.")
    try:
        return response.json()
    except ValueError as error:
        raise ServerError(f"{_shown(url)} did not answer in JSON.") from error


def _reason(error: Exception) -> str:
    """In the system's own words where there are some."""
    words = url_without_secrets(str(error)).removeprefix("[Errno ").partition("] ")
    return words[2] or words[0] or type(error).__name__


def _shown(url: str) -> str:
    return url_without_secrets(url)
