"""GET /openapi.json, /docs and /redoc: the API's description, for programs and for people."""

import base64
import functools
import hashlib
from collections.abc import Collection
from html import escape

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from headrace.server.documentation.field_table import FieldRow, nested_models, own_rows, parent_of
from headrace.server.documentation.openapi import build_openapi
from headrace.server.endpoint import Endpoint
from headrace.server.http.json_body import json_response
from headrace.server.model_pool.request_model import config_of
from headrace.version import __version__

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d5dae0, #363d47);
  --muted: light-dark(#4f5761, #abb3be); --link: light-dark(#0b5cad, #82b9f7); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#ffffff, #14171b); color: light-dark(#1a1d21, #e8ebef); }
a { color: var(--link); }
code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.6rem 0.3rem 0; text-align: left;
  vertical-align: top; }
.muted { color: var(--muted); }
"""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


async def openapi_document(request: Request) -> Response:
    config = config_of(request)
    document = build_openapi(
        request.app.state.endpoints,
        with_keys=bool(config.api_key),
        root_path=config.root_path or "",
    )
    return json_response(document)


async def docs_page(request: Request) -> Response:
    """The API on one page, without scripts and without requests to other hosts."""
    page = _page(tuple(request.app.state.endpoints), config_of(request).root_path or "")
    return Response(page, media_type="text/html", headers=_HEADERS)


@functools.lru_cache(maxsize=1)
def _page(endpoints: tuple[Endpoint, ...], root_path: str) -> str:
    bodies = dict.fromkeys(model for each in endpoints for model in each.requests)
    objects = dict.fromkeys(inner for model in bodies for inner in nested_models(model))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Headrace API</title><style>{_STYLE}</style></head><body>",
        f"<h1>Headrace {escape(__version__)}: API</h1>",
        f'<p>The schemas: <a href="{escape(root_path)}/openapi.json">openapi.json</a>. Where the '
        "server has API keys, send one as <code>Authorization: Bearer KEY</code>.</p>",
        "<h2>Endpoints</h2><table><thead><tr><th>Path</th><th>Methods</th><th>Key</th>"
        "<th>Body</th><th>What it does</th></tr></thead><tbody>",
        *map(_endpoint_row, endpoints),
        "</tbody></table>",
        *(_section(model, bodies) for model in (*bodies, *objects)),
        "</body></html>",
    ]
    return "\n".join(parts)


def _endpoint_row(endpoint: Endpoint) -> str:
    bodies = ", ".join(
        f'<a href="#{model.__name__}">{model.__name__}</a>' for model in endpoint.requests
    )
    difference = _html(endpoint.difference)
    return (
        f"<tr><td><code>{escape(endpoint.openapi_path)}</code></td>"
        f"<td>{', '.join(endpoint.methods)}</td>"
        f"<td>{'not needed' if endpoint.is_open else 'needed'}</td><td>{bodies}</td>"
        f'<td>{escape(endpoint.summary)} <span class="muted">{difference}</span></td></tr>'
    )


def _section(model: type[BaseModel], bodies: Collection[type[BaseModel]]) -> str:
    name = model.__name__
    parent = parent_of(model, bodies)
    inherited = ""
    if parent is not None:
        link = f'<a href="#{parent.__name__}">{parent.__name__}</a>'
        inherited = f"<p>The fields of {link}, of which these differ:</p>"
    return "\n".join(
        [
            f'<section id="{name}"><h2>{name}</h2>{inherited}<table><thead><tr><th>Field</th>'
            "<th>Supported</th><th>Values</th><th>What it does</th></tr></thead><tbody>",
            *map(_field_row, own_rows(model, bodies)),
            "</tbody></table></section>",
        ]
    )


def _field_row(row: FieldRow) -> str:
    required = ' <span class="muted">required</span>' if row.is_required else ""
    return (
        f"<tr><td><code>{escape(row.name)}</code>{required}</td><td>{row.support}</td>"
        f"<td>{_html(row.values)}</td><td>{_html(row.notes)}</td></tr>"
    )


def _html(markdown: str) -> str:
    """Text with code in backticks."""
    pieces = escape(markdown, quote=False).split("`")
    return "".join(
        f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces)
    )
