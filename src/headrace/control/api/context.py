"""The dependencies of the API's routes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from headrace.control.api.log_response import Followers
from headrace.control.api.to_response import ResponseBuilder
from headrace.control.history.current import CurrentMetrics
from headrace.control.layout import Layout
from headrace.control.retention.folders import Folders
from headrace.control.store.store import Store
from headrace.control.vault import Vault
from headrace.listen.origins import OriginPolicy


@dataclass(frozen=True, slots=True)
class Context:
    store: Store
    vault: Vault
    responses: ResponseBuilder
    wake: Callable[[], None]
    """Starts the next pass of the control loops now."""
    folders: Folders
    """Removes the folders of deleted resources."""
    layout: Layout
    """Where the platform's files are."""
    current: CurrentMetrics = field(default_factory=CurrentMetrics)
    """The latest metrics of revisions and replicas; those of ``responses``."""
    gateway_admin_url: str = "http://127.0.0.1:8081"
    """The address of the gateway's admin port."""
    origins: OriginPolicy = OriginPolicy()
    """Accepted hosts and origins."""
    followers: Followers = field(default_factory=Followers)
    """Number of logs that are being followed."""
    is_ending: Callable[[], bool] = lambda: False
    """Whether the control plane is shutting down: then followed logs end."""
    expose_metrics: Callable[[], bytes] = bytes
    """The page of /metrics."""
    settle_timeout_s: float = 3.0
    """How long the response to a gateway's update waits for the control loop to process it."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def context_of(request: Request) -> Context:
    """The app's context, for routes."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(context_of)]
