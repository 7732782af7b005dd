"""The path under which a reverse proxy serves this server (``--root-path``)."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPathMiddleware:
    """Removes the prefix from the path of requests that have it: proxies forward paths with it or
    without. Everything behind it, access control included, sees the path without the prefix."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """root_path: begins with a slash and does not end with one."""
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == self._root_path or path.startswith(self._root_path + "/"):
                scope = {**scope, "path": path[len(self._root_path) :] or "/"}
        await self._app(scope, receive, send)
