"""Renders templates: whole pages, and the parts of pages that are kept current."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context as TemplateContext
from markupsafe import Markup
from starlette.responses import HTMLResponse

from headrace.dashboard.access.guard import Visitor
from headrace.dashboard.urls import ROOT, url
from headrace.version import __version__

_DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A link of the main navigation."""

    title: str
    path: str
    administrators_only: bool = False


@dataclass(frozen=True, slots=True)
class LiveContent:
    """A rendered part of a page that is kept current."""

    html: str
    digest: str

    @classmethod
    def of(cls, html: str) -> "LiveContent":
        return cls(html, hashlib.sha256(html.encode()).hexdigest()[:_DIGEST_LENGTH])


class Renderer:
    """Renders the templates of the package with what every page needs. Values are escaped."""

    def __init__(self, navigation: tuple[NavigationEntry, ...]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            navigation=navigation,
            node=platform.node(),
            root=ROOT,
            url=url,
            version=__version__,
            live=_live,
        )
        self._environment.filters.update(
            duration=show_duration,
            moment=show_moment,
            num_bytes=show_bytes,
            number=show_number,
            percent=show_percent,
            uptime=show_uptime,
        )

    def page(
        self, request: Request, template: str, *, status_code: int = 200, **values: Any
    ) -> HTMLResponse:
        """A whole page."""
        visitor: Visitor | None = getattr(request.state, "visitor", None)
        notice = ""
        if visitor is not None:
            notice, visitor.session.notice = visitor.session.notice, ""
        return HTMLResponse(
            self._render(request, template, {**values, "notice": notice}), status_code
        )

    def fragment(self, request: Request, template: str, **values: Any) -> HTMLResponse:
        """A part of a page, for htmx."""
        return HTMLResponse(self._render(request, template, values))

    def part(self, template: str, visitor: object, values: Mapping[str, Any]) -> LiveContent:
        """The content of a part that ``live(template, address)`` put into a page."""
        html = self._environment.get_template(template).render(visitor=visitor, **values)
        return LiveContent.of(html)

    def _render(self, request: Request, template: str, values: Mapping[str, Any]) -> str:
        return self._environment.get_template(template).render(
            request_path=request.url.path,
            visitor=getattr(request.state, "visitor", None),
            **values,
        )


def renderer_of(request: Request) -> Renderer:
    renderer: Renderer = request.app.state.renderer
    return renderer


def render_page(
    request: Request, template: str, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A whole page; its template extends ``layout.html``."""
    return renderer_of(request).page(request, template, status_code=status_code, **values)


def show_moment(moment: datetime | None) -> Markup:
    """A ``<time>`` with the date in UTC; the browser adds how long ago that was."""
    if moment is None:
        return Markup("—")
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    )


def show_number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Rounded to ``digits`` significant digits; a dash if it is unknown."""
    if value is None:
        return "—"
    if value == 0:
        shown = "0"
    elif abs(value) >= 10 ** (digits - 1):
        shown = f"{value:,.0f}"
    else:
        shown = f"{value:.{digits}g}"
    return f"{shown} {unit}".rstrip()


def show_duration(seconds: float | None) -> str:
    """In µs, ms or s."""
    if seconds is None:
        return "—"
    if seconds >= 1 or seconds == 0:
        return show_number(seconds, "s")
    return show_number(seconds * 1e3, "ms") if seconds >= 1e-3 else show_number(seconds * 1e6, "µs")


def show_uptime(seconds: float | None) -> str:
    """In minutes, hours or days, rounded down."""
    if seconds is None:
        return "—"
    minutes = int(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def show_bytes(num_bytes: float | None) -> str:
    """In B, KiB, MiB or GiB."""
    if num_bytes is None:
        return "—"
    for power, unit in enumerate(("B", "KiB", "MiB")):
        if num_bytes < 1000 * 1024**power:
            return show_number(num_bytes / 1024**power, unit)
    return show_number(num_bytes / 2**30, "GiB")


def show_percent(share: float | None) -> str:
    """``share`` from 0 to 1."""
    return "—" if share is None else f"{show_number(100 * share)} %"


@pass_context
def _live(context: TemplateContext, template: str, address: str) -> Markup:
    """The part of a page that ``template`` renders, and ``address`` keeps current."""
    content = context.environment.get_template(template).render(context.get_all())
    return Markup('<div class="live" data-live="{}" data-seen="{}">{}</div>').format(
        address, LiveContent.of(content).digest, Markup(content)
    )
