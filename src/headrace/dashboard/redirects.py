"""Responses after changes."""

from starlette.responses import RedirectResponse

from headrace.dashboard.access.guard import Visitor

_SEE_OTHER = 303


def redirect_with_notice(visitor: Visitor, address: str, notice: str) -> RedirectResponse:
    """To a page, which shows ``notice`` once. A reload does not repeat the change."""
    visitor.session.notice = notice
    return RedirectResponse(address, _SEE_OTHER)
