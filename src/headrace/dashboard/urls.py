"""Addresses of pages."""

from urllib.parse import quote, urlencode

ROOT = "/dashboard"
"""Where the dashboard is mounted."""


def url(*parts: str | int, **query: str | int | None) -> str:
    """``url("services", name, tab="events")``: each part is one path segment."""
    path = "".join(f"/{quote(str(part), safe='')}" for part in parts)
    given = {key: value for key, value in query.items() if value is not None}
    return f"{ROOT}{path or '/'}" + (f"?{urlencode(given)}" if given else "")


def is_local(path: str) -> bool:
    """Whether it is an address of the dashboard, so that a redirect to it stays there."""
    return path.startswith(f"{ROOT}/") and "\\" not in path and path.isprintable()
