"""What the pages of one service share: their tabs."""

from typing import Any, NamedTuple

from fastapi import Request
from starlette.responses import HTMLResponse

from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import url


class Tab(NamedTuple):
    title: str
    path: str
    is_current: bool


_TABS = {
    "Overview": (),
    "Metrics": ("metrics",),
    "Revisions": ("revisions",),
    "Replicas": ("replicas",),
    "Traffic": ("traffic",),
    "Events": ("events",),
}


def render_service_page(
    request: Request,
    service: str,
    tab: str,
    template: str,
    *,
    status_code: int = 200,
    **values: Any,
) -> HTMLResponse:
    """A page of a service; its template extends ``services/layout.html``."""
    tabs = [
        Tab(title, url("services", service, *path), title == tab) for title, path in _TABS.items()
    ]
    return render_page(
        request, template, status_code=status_code, service=service, tabs=tabs, **values
    )
