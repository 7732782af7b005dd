"""Replays a trace of requests against simulated replicas that `autoscaler.decide` scales.

    python benchmarks/autoscaling_replay.py --trace AzureLLMInferenceTrace_conv.csv --output out.png

The trace is a CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens, as the Azure LLM
inference traces have (Patel et al., "Splitwise", ISCA 2024). One run per signal, with the
control plane's own samples, signals and decisions every two seconds; only the replicas are
simulated (`replay_replica.py`). Prints a table and draws a chart.
"""

import argparse
import csv
import math
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path

from replay_chart import ReplayResult, draw
from replay_replica import ReplicaModel, SimulatedReplica, SimulatedRequest

from headrace.control.processes.process_usage import Allowance, ProcessUsage
from headrace.control.scaling.autoscaler import ScalingState, decide
from headrace.control.scaling.autoscaling_policy import AutoscalingPolicy, Signal
from headrace.control.scaling.replica_metrics import ReplicaPage
from headrace.control.scaling.signals import Sample, recent, signal_values_of
from headrace.core.gateway.stats import TTFT_BUCKETS_S, RevisionStats

STEP_S = 0.1
DECIDE_EVERY_S = 2.0
TARGETS = {
    Signal.CPU: 60.0,
    Signal.CONCURRENCY: 12.0,
    Signal.RPS: 1.5,
    Signal.QUEUE_TIME: 0.5,
    Signal.KV_CACHE: 50.0,
    Signal.TTFT: 2.0,
}
UNITS = {
    Signal.CPU: "%",
    Signal.CONCURRENCY: " requests",
    Signal.RPS: " requests/s",
    Signal.QUEUE_TIME: " s",
    Signal.KV_CACHE: "%",
    Signal.TTFT: " s",
}
CORE = Allowance(num_cores=1.0, num_bytes=1)


def main() -> int:
    options = _parse()
    trace = read_trace(options.trace, options.minutes * 60.0)
    if not trace:
        print(f"{options.trace} has no requests.", file=sys.stderr)
        return 1
    model = ReplicaModel(**{f.name: getattr(options, f.name) for f in fields(ReplicaModel)})
    base = AutoscalingPolicy(min=options.min, max=options.max)
    results = []
    for number in options.fixed:
        policy = replace(base, min=number, max=number)
        results.append(Replay(trace, model, policy, number, f"fixed: {number}", "").run())
        print(f"  {results[-1].name}", file=sys.stderr)
    for signal, target in TARGETS.items():
        policy = replace(base, signal=signal, target=options.target.get(signal, target))
        shown = f", target {policy.target:g}{UNITS[signal]}"
        results.append(Replay(trace, model, policy, options.start, str(signal), shown).run())
        print(f"  {results[-1].name}", file=sys.stderr)
    print(table(results))
    if options.output is not None:
        title = (
            f"{options.trace.stem}: {len(trace):,} requests, {options.min} to {options.max} "
            f"replicas that take {model.startup_s:g} s to start (simulated)"
        )
        draw(results, title, options.output)
        print(f"\nChart: {options.output}", file=sys.stderr)
    return 0


def read_trace(path: Path, max_duration_s: float) -> list[SimulatedRequest]:
    """Requests by their arrival after the first one."""
    requests = []
    first: datetime | None = None
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            # The traces have tenths of microseconds, which datetime does not support.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or at
            arrived_s = (at - first).total_seconds()
            if arrived_s > max_duration_s:
                break
            context, generated = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            requests.append(SimulatedRequest(arrived_s, max(context, 1), max(generated, 1)))
    return requests


class Replay:
    """One run of the trace under one policy."""

    def __init__(
        self,
        trace: Sequence[SimulatedRequest],
        model: ReplicaModel,
        policy: AutoscalingPolicy,
        num_replicas: int,
        name: str,
        target: str,
    ) -> None:
        self._requests = [
            SimulatedRequest(r.arrived_s, r.num_context, r.num_generated) for r in trace
        ]
        self._model = model
        self._policy = policy
        self._name = name
        self._target = target
        self._replicas = {str(i): SimulatedReplica(model, 0.0) for i in range(num_replicas)}
        self._num_started = num_replicas
        self._num_desired = num_replicas
        self._held: deque[SimulatedRequest] = deque()
        self._state = ScalingState()
        self._samples: list[Sample] = []
        self._busy_s: dict[str, float] = {}
        self._num_arrived = 0
        self._ttft_counts = [0] * (len(TTFT_BUCKETS_S) + 1)
        self._replica_s = 0.0
        self._times_s: list[float] = []
        self._desired: list[int] = []
        self._ready: list[int] = []

    def run(self) -> ReplayResult:
        steps_per_decision = round(DECIDE_EVERY_S / STEP_S)
        step = 0
        while self._num_arrived < len(self._requests) or self._has_work():
            now_s = step * STEP_S
            self._arrive(now_s)
            if step % steps_per_decision == 0:
                self._scale(now_s)
            self._work(now_s)
            step += 1
        return ReplayResult(
            name=self._name,
            target=self._target,
            times_s=self._times_s,
            num_desired=self._desired,
            num_ready=self._ready,
            arrivals_s=[r.arrived_s for r in self._requests],
            queue_times_s=[(r.began_s or 0.0) - r.arrived_s for r in self._requests],
            ttfts_s=[(r.first_token_s or 0.0) - r.arrived_s for r in self._requests],
            replica_hours=self._replica_s / 3600.0,
            num_changes=sum(a != b for a, b in zip(self._desired, self._desired[1:], strict=False)),
        )

    def _has_work(self) -> bool:
        return bool(self._held) or any(r.num_outstanding for r in self._replicas.values())

    def _routed(self, now_s: float) -> list[SimulatedReplica]:
        return [
            replica
            for replica in self._replicas.values()
            if replica.ready_at_s <= now_s and not replica.is_draining
        ]

    def _arrive(self, now_s: float) -> None:
        while self._num_arrived < len(self._requests):
            request = self._requests[self._num_arrived]
            if request.arrived_s > now_s:
                break
            self._held.append(request)
            self._num_arrived += 1
        routed = self._routed(now_s)
        while self._held and routed:
            chosen = min(routed, key=lambda replica: replica.num_outstanding)
            chosen.waiting.append(self._held.popleft())

    def _work(self, now_s: float) -> None:
        for name, replica in list(self._replicas.items()):
            self._replica_s += STEP_S  # it is billed from its start to its end
            if replica.ready_at_s > now_s:
                continue
            for request in replica.step(now_s, STEP_S):
                ttft_s = (request.first_token_s or 0.0) - request.arrived_s
                bucket = sum(ttft_s > edge for edge in TTFT_BUCKETS_S)
                self._ttft_counts[bucket] += 1
            if replica.is_draining and replica.num_outstanding == 0:
                del self._replicas[name]

    def _scale(self, now_s: float) -> None:
        self._samples = recent([*self._samples, self._read(now_s)], now_s)
        samples = signal_values_of(self._samples)
        decision = decide(self._policy, samples, self._num_desired, self._state, now_s)
        self._state = decision.state
        self._num_desired = decision.num_desired
        current = [r for r in self._replicas.values() if not r.is_draining]
        for _ in range(self._num_desired - len(current)):
            ready_at_s = now_s + self._model.startup_s
            self._replicas[str(self._num_started)] = SimulatedReplica(self._model, ready_at_s)
            self._num_started += 1
        # As the reconciler does: those that are not ready yet, then the least loaded.
        current.sort(key=lambda r: (r.ready_at_s <= now_s, r.num_outstanding, -r.ready_at_s))
        for replica in current[: max(len(current) - self._num_desired, 0)]:
            replica.is_draining = True
        self._times_s.append(now_s)
        self._desired.append(self._num_desired)
        self._ready.append(len(self._routed(now_s)))

    def _read(self, now_s: float) -> Sample:
        ready = {
            name: replica
            for name, replica in self._replicas.items()
            if replica.ready_at_s <= now_s and not replica.is_draining
        }
        outstanding = sum(replica.num_outstanding for replica in self._replicas.values())
        latest = self._requests[self._num_arrived - 1].arrived_s if self._num_arrived else 0.0
        usages = {}
        for name, replica in ready.items():
            busy_s = replica.busy_s - self._busy_s.get(name, 0.0)
            self._busy_s[name] = replica.busy_s
            usages[name] = ProcessUsage(min(busy_s / DECIDE_EVERY_S, 1.0), 0, None)
        return Sample(
            at_s=now_s,
            num_ready=len(ready),
            gateway=RevisionStats(
                num_waiting=len(self._held),
                num_outstanding=outstanding,
                num_requests_total=self._num_arrived,
                ttft_counts=tuple(self._ttft_counts),
                last_request_age_s=now_s - latest,
            ),
            pages={
                name: ReplicaPage(
                    num_waiting=len(replica.waiting),
                    kv_cache_usage=replica.kv_cache_usage,
                    num_finished_total=replica.num_finished_total,
                )
                for name, replica in ready.items()
            },
            usages=usages,
            allowance=CORE,
        )


def table(results: Sequence[ReplayResult]) -> str:
    lines = [
        "| signal | replica-hours | max | changes | queue p50, s | queue p99, s | TTFT p99, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {result.name}{result.target} | {result.replica_hours:.2f} | {max(result.num_desired)} "
        f"| {result.num_changes} | {result.queue_time(50):.2f} | {result.queue_time(99):.1f} "
        f"| {result.ttft(99):.1f} |"
        for result in results
    ]
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Replay a trace against simulated replicas.")
    parser.add_argument("--trace", type=Path, required=True, help="CSV of requests")
    parser.add_argument("--output", type=Path, help="PNG to draw")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of the trace; all of it")
    parser.add_argument("--min", type=int, default=1, help="minimum number of replicas")
    parser.add_argument("--max", type=int, default=10, help="maximum number of replicas")
    parser.add_argument("--start", type=int, default=3, help="number of replicas at the beginning")
    parser.add_argument(
        "--fixed", type=int, action="append", help="a run with N replicas; may be repeated"
    )
    parser.add_argument(
        "--target",
        type=_target,
        action="append",
        default=[],
        metavar="SIGNAL=VALUE",
        help="another target; may be repeated",
    )
    model = ReplicaModel()
    for field in fields(ReplicaModel):
        value = getattr(model, field.name)
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(value), default=value)
    options = parser.parse_args()
    options.target = dict(options.target)
    options.fixed = [4, 6] if options.fixed is None else options.fixed
    return options


def _target(text: str) -> tuple[Signal, float]:
    name, _, value = text.partition("=")
    return Signal(name), float(value)


if __name__ == "__main__":
    sys.exit(main())
