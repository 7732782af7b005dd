"""One replica as the gateway sees it: where it is, what is under way there, whether it is well.

Lives as long as it is routed to or has work left. Decides nothing.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from headrace.gateway.routing.decisions import Chosen
from headrace.gateway.routing.ejection import Health

if TYPE_CHECKING:
    from headrace.gateway.routing.quarantine import Loss, Suspect
    from headrace.gateway.routing.target_state import TargetState

MAX_NUM_LOSSES = 1024
"""That are remembered of one replica."""


class Replica:
    """Mutable; the router writes all but ``heard_at`` and ``keeps_after_streams``."""

    __slots__ = (
        "address",
        "asked_at",
        "chosen",
        "cut_at",
        "health",
        "heard_at",
        "host",
        "is_routed",
        "is_verdict_due",
        "isolated",
        "keeps_after_streams",
        "losses",
        "num_failures_total",
        "num_outstanding",
        "num_requests_total",
        "port",
        "replica_id",
        "target",
    )

    def __init__(self, replica_id: str, host: str, port: int, target: TargetState) -> None:
        self.replica_id = replica_id
        self.host = host
        self.port = port
        self.address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        """As ``Host`` has it."""
        self.target = target
        self.is_routed = True
        self.num_outstanding = 0
        self.num_requests_total = 0
        self.num_failures_total = 0
        self.heard_at = -math.inf
        """When the last byte came from it: whoever reads its connections sets it."""
        self.asked_at = -math.inf
        """When it last got a request while it had none."""
        self.keeps_after_streams: bool | None = None
        """Whether its connections stay open after a stream; None: no stream has ended yet. Whoever
        keeps its connections sets it."""
        self.losses: deque[Loss] = deque(maxlen=MAX_NUM_LOSSES)
        """Requests that it gave no good answer to."""
        self.cut_at = -math.inf
        """When it last cut a request off."""
        self.is_verdict_due = False
        """It lost a request, and has not been probed since."""
        self.isolated: Suspect | None = None
        """The request that is isolated here."""
        self.health = Health()
        self.chosen = Chosen(self)
        """The one answer that names it, made once."""

    @property
    def service(self) -> str:
        return self.target.service.name

    @property
    def revision(self) -> int:
        return self.target.revision

    @property
    def is_ejected(self) -> bool:
        return self.health.is_ejected

    @property
    def silent_since(self) -> float | None:
        """Since when it owes an answer and says nothing; None if it owes none."""
        return max(self.heard_at, self.asked_at) if self.num_outstanding else None

    def __repr__(self) -> str:
        return f"Replica({self.replica_id} at {self.host}:{self.port})"
