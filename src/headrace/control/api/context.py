"""What the API's routes work with. Made once, handed to the app; nothing here is global."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from headrace.control.api.log_response import Followers
from headrace.control.api.to_response import ResponseBuilder
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
    """Tells the controller that there is something to do."""
    folders: Folders
    """Of what is deleted."""
    origins: OriginPolicy = OriginPolicy()
    """Which hosts and origins are accepted."""
    followers: Followers = field(default_factory=Followers)
    """How many logs are being followed."""
    is_ending: Callable[[], bool] = lambda: False
    """Whether the control plane is about to end: logs are followed no further."""
    settle_timeout_s: float = 3.0
    """How long a change of a gateway waits to be taken up before it is answered as it is."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def context_of(request: Request) -> Context:
    """The app's context, for routes."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(context_of)]
