"""Services, revisions, replicas, events and history in a store, as control loops leave them."""

import math
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from headrace.control.history.block import FINE, Block
from headrace.control.history.revision_sample import RevisionSample
from headrace.control.operations.gateways import update_gateway
from headrace.control.operations.revisions import create_revision
from headrace.control.operations.services import create_service
from headrace.control.resources import (
    Event,
    EventReason,
    GatewayStatus,
    ProcessHandle,
    Replica,
    ReplicaState,
    RevisionKey,
    RevisionPhase,
)
from headrace.control.store.history_queries import StoredBlock
from headrace.control.store.store import Store

_REVISION = "message: {message}\nmodel: smollm2-135m\nautoscaling: {{min: 1, max: 2}}\n"
_CAUSE = "It exited with code 1 before it was ready.\nOSError: [Errno 98] address in use"


def add_example_service(
    store: Store, name: str, now: datetime, *, num_revisions: int = 3, num_events: int = 0
) -> None:
    """The last two revisions run with a ready replica each and share the traffic; the ones before
    are terminated. The newest revision has a failed replica, too."""
    create_service(store, name, now)
    for number in range(1, num_revisions + 1):
        manifest = _REVISION.format(message=f"SmolLM2-135M, version {number}")
        create_revision(store, name, manifest, "revision.yaml", now)
    first = max(num_revisions - 1, 1)
    serving = list(range(first, num_revisions + 1))
    with store.begin() as tx:
        for number in range(1, first):
            tx.set_phase(name, number, RevisionPhase.TERMINATED)
        for number in serving:
            tx.add_replica(_replica(name, number, ReplicaState.READY, now))
        failed = _replica(name, num_revisions, ReplicaState.FAILED, now - timedelta(minutes=5))
        tx.add_replica(replace(failed, cause=_CAUSE))
        for index in range(num_events):
            at = now - timedelta(seconds=num_events - index)
            what = EventReason.SCALED
            tx.add_event(Event(at, f"revision {name}/1", what, "Queue time 2.1 s.", service=name))
    shares = [100] if len(serving) == 1 else [25, 75]
    targets = "".join(
        f"- {{number: {number}, weight: {share}}}\n"
        for number, share in zip(serving, shares, strict=True)
    )
    gateway = update_gateway(store, name, f"enabled: true\ntargets:\n{targets}", "g.yaml", now)
    with store.begin() as tx:
        tx.save_gateway(
            replace(
                gateway,
                applied_targets=gateway.targets,
                status=GatewayStatus.SUCCESS,
                message="",
            )
        )


def _replica(service: str, number: int, state: ReplicaState, at: datetime) -> Replica:
    is_live = state is ReplicaState.READY
    return Replica(
        replica_id=f"{service}-{number}-{uuid.uuid4().hex[:5]}",
        service=service,
        revision=number,
        state=state,
        created_at=at,
        changed_at=at,
        process=ProcessHandle(4242, 1.0) if is_live else None,
        host_ports={8000: 45_000 + number} if is_live else {},
    )


def add_example_history(store: Store, service: str, numbers: Sequence[int], now: datetime) -> None:
    """An hour of samples of these revisions: waves, no gaps."""
    end = math.floor(now.timestamp() / FINE.step_s) * FINE.step_s
    blocks: dict[tuple[int, int], Block] = {}
    for at in range(end - 3600, end, FINE.step_s):
        begin = FINE.block_begin(at)
        for number in numbers:
            block = blocks.setdefault((number, begin), Block(FINE, begin))
            block.put(at, _sample(at / 600 + number, number))
    with store.begin() as tx:
        tx.save_history(
            [
                StoredBlock(RevisionKey(service, number), FINE.step_s, begin, block.encode())
                for (number, begin), block in blocks.items()
            ]
        )


def _sample(phase: float, number: int) -> RevisionSample:
    wave = 1 + 0.5 * math.sin(phase) + 0.1 * math.sin(17 * phase)
    return RevisionSample(
        requests_per_s=4 * wave * number,
        errors_per_s=max(0.0, 0.2 * math.sin(phase) * wave),
        prompt_tokens_per_s=600 * wave * number,
        generation_tokens_per_s=400 * wave * number,
        ttft_p50_s=0.08 * wave,
        ttft_p95_s=0.21 * wave,
        inter_token_latency_p50_s=0.011 * wave,
        inter_token_latency_p95_s=0.019 * wave,
        num_running=6 * wave,
        num_waiting=max(0.0, 3 * math.sin(phase)),
        kv_cache_usage=0.4 * wave,
        prefix_cache_hit_ratio=0.3 * wave,
        preemptions_per_s=0.0,
        num_ready_replicas=float(number),
    )
