"""Decides how many replicas a revision should have. Pure: its state is a `ScalingState` value.

Utilization and load signals follow the algorithm of Kubernetes' HorizontalPodAutoscaler (ratio of
value and target, tolerance, recommendations stabilized over a window); scaling to and from zero,
and concurrency as a signal, follow Knative's autoscaler (KPA). Response signals are not
proportional to the number of replicas: queue time is near zero until there are too few, and then
unbounded. So they are followed in bounded steps, and capacity observations (N replicas did not
sustain R requests a second) prevent oscillation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from headrace.control.scaling.autoscaling_policy import (
    LOAD_SIGNALS,
    UTILIZATION_SIGNALS,
    AutoscalingPolicy,
    Signal,
)


@dataclass(frozen=True, slots=True)
class SignalValues:
    """The signals of one revision. None: unknown now."""

    num_ready: int
    values: Mapping[Signal, float] = field(default_factory=dict)
    """Without the signals that could not be measured."""
    num_waiting: int | None = None
    """Requests that the gateway holds."""
    num_outstanding: int | None = None
    """Open requests at replicas."""
    last_request_age_s: float | None = None
    """Since the last request arrived; None if none did since the gateway started."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The number of replicas that the signal alone called for at one moment."""

    at_s: float
    num_replicas: int
    rps: float | None
    """The load at that moment."""
    value: float | None
    """The signal at that moment."""


@dataclass(frozen=True, slots=True)
class CapacityObservation:
    """This many ready replicas met the target until this load arrived, and then did not."""

    at_s: float
    num_replicas: int
    rps: float


@dataclass(frozen=True, slots=True)
class ScalingState:
    """The autoscaler's state for one revision, from earlier decisions."""

    recommendations: tuple[Recommendation, ...] = ()
    """Of the longer of both windows, oldest first."""
    observations: tuple[CapacityObservation, ...] = ()
    last_active_s: float | None = None
    """When there were requests last, as far as is known."""
    num_ready: int = 0
    ready_grew_s: float = -math.inf
    """When the number of ready replicas last grew."""
    has_met_target: bool = False
    """The target was met since then. A queue that formed before says nothing about the capacity
    of the present replicas."""


class ScalingReason(StrEnum):
    """Why the autoscaler decided as it did. Stable, unlike the sentence for users."""

    NO_TRAFFIC = "no_traffic"
    """Nothing to scale up from zero for."""
    IDLE = "idle"
    """No requests for the idle timeout."""
    MINIMUM = "minimum"
    """There are fewer replicas than the policy's minimum."""
    REQUESTS_WAITING = "requests_waiting"
    """Requests wait and no replica runs."""
    SIGNAL_UNKNOWN = "signal_unknown"
    NO_READY_REPLICA = "no_ready_replica"
    SIGNAL = "signal"
    """The signal's distance from the target."""
    SETTLING = "settling"
    """A new replica has not yet affected the signal."""
    QUEUE_DRAINS = "queue_drains"
    """The queue will be empty before another replica could help."""
    NO_REQUESTS = "no_requests"
    CAPACITY = "capacity"
    """Fewer replicas did not sustain this load."""


@dataclass(frozen=True, slots=True)
class Decision:
    num_desired: int
    reason: ScalingReason
    why: str
    """A sentence for users."""
    state: ScalingState


@dataclass(frozen=True, slots=True)
class _Advice:
    num_replicas: int
    reason: ScalingReason
    why: str
    observation: CapacityObservation | None = None


def decide(
    policy: AutoscalingPolicy,
    signals: SignalValues,
    num_desired: int,
    state: ScalingState,
    now_s: float,
) -> Decision:
    """The new desired number of replicas, given that the last one was ``num_desired``.

    ``num_desired`` includes replicas that are starting: they are capacity already.
    """
    state = _noted(policy, signals, state, now_s)
    if policy.min == 0 and _is_idle(policy, signals, state, now_s):
        reason, why = ScalingReason.NO_TRAFFIC, "No traffic."
        if num_desired > 0:
            reason, why = ScalingReason.IDLE, f"No requests for {policy.idle_timeout_s:g} s."
        return Decision(0, reason, why, replace(state, recommendations=()))
    if num_desired == 0:
        return _wake(policy, signals, state, now_s)

    advice = _advise(policy, signals, num_desired, state, now_s)
    lowest = max(policy.min, 1)
    wanted = min(max(advice.num_replicas, lowest), policy.max)
    state = _remembered(policy, signals, num_desired, wanted, advice.observation, state, now_s)
    stable = _stabilized(policy, num_desired, state, now_s)
    return Decision(min(max(stable, lowest), policy.max), advice.reason, advice.why, state)


def _noted(
    policy: AutoscalingPolicy, signals: SignalValues, state: ScalingState, now_s: float
) -> ScalingState:
    """``state`` with these signals' activity and number of ready replicas."""
    last_active_s = state.last_active_s
    if last_active_s is None or signals.num_outstanding is None or signals.num_waiting is None:
        last_active_s = now_s  # unknown: assume that there are requests
    elif signals.num_outstanding + signals.num_waiting > 0:
        last_active_s = now_s
    elif signals.last_request_age_s is not None:
        last_active_s = max(last_active_s, now_s - signals.last_request_age_s)
    is_first = state.last_active_s is None  # the present replicas are not new
    has_grown = signals.num_ready > state.num_ready and not is_first
    value = signals.values.get(policy.signal)
    is_met = value is not None and value <= policy.target
    return replace(
        state,
        last_active_s=last_active_s,
        num_ready=signals.num_ready,
        ready_grew_s=now_s if has_grown else state.ready_grew_s,
        has_met_target=is_met or (state.has_met_target and not has_grown),
    )


def _is_idle(
    policy: AutoscalingPolicy, signals: SignalValues, state: ScalingState, now_s: float
) -> bool:
    if signals.num_waiting or signals.num_outstanding:
        return False
    return now_s - (state.last_active_s or 0.0) >= policy.idle_timeout_s


def _wake(
    policy: AutoscalingPolicy, signals: SignalValues, state: ScalingState, now_s: float
) -> Decision:
    """Scale up from zero: at once when a request waits, regardless of the windows."""
    if policy.min > 0:
        why = f"Scaling to min={policy.min}."
        return Decision(policy.min, ScalingReason.MINIMUM, why, state)
    if not signals.num_waiting:
        return Decision(0, ScalingReason.NO_TRAFFIC, "No traffic.", state)
    wanted = 1
    if policy.signal is Signal.CONCURRENCY:
        wanted = math.ceil(signals.num_waiting / policy.target)
    wanted = min(max(wanted, 1), policy.max)
    why = f"{signals.num_waiting} requests waiting and no replica running."
    values = signals.values
    first = Recommendation(now_s, wanted, values.get(Signal.RPS), values.get(policy.signal))
    state = replace(state, recommendations=(first,))
    return Decision(wanted, ScalingReason.REQUESTS_WAITING, why, state)


def _advise(
    policy: AutoscalingPolicy,
    signals: SignalValues,
    num_desired: int,
    state: ScalingState,
    now_s: float,
) -> _Advice:
    """The recommendation without stabilization."""
    signal = policy.signal
    value = signals.values.get(signal)
    if value is None:
        return _Advice(num_desired, ScalingReason.SIGNAL_UNKNOWN, f"{signal} is unknown.")
    if signal in LOAD_SIGNALS:
        return _follow_load(policy, value, num_desired)
    if signals.num_ready == 0:
        return _Advice(num_desired, ScalingReason.NO_READY_REPLICA, "No replica is ready yet.")
    if signal in UTILIZATION_SIGNALS:
        return _follow_load(policy, value * signals.num_ready, num_desired)
    return _follow_response(policy, value, signals, num_desired, state, now_s)


def _follow_load(policy: AutoscalingPolicy, total: float, num_desired: int) -> _Advice:
    """The number of replicas that brings each to the target, if the deviation exceeds the
    tolerance."""
    each = total / num_desired
    why = f"{policy.signal} is {each:.4g} per replica, target {policy.target:g}."
    if abs(each / policy.target - 1.0) <= policy.tolerance:
        return _Advice(num_desired, ScalingReason.SIGNAL, why)
    # Minus a rounding error: 3 replicas at 0.3 with a target of 0.1 are 9, not 10.
    return _Advice(math.ceil(total / policy.target - 1e-9), ScalingReason.SIGNAL, why)


def _follow_response(
    policy: AutoscalingPolicy,
    value: float,
    signals: SignalValues,
    num_desired: int,
    state: ScalingState,
    now_s: float,
) -> _Advice:
    ratio = value / policy.target
    why = f"{policy.signal} is {value:.3g} s, target {policy.target:g} s."
    rps = signals.values.get(Signal.RPS)
    peak_rps = _peak_rps(policy, rps, state, now_s)
    if ratio > 1.0 + policy.tolerance:
        if now_s - state.ready_grew_s < policy.settle_s:
            why = f"{why} Waiting for a new replica to settle."
            return _Advice(num_desired, ScalingReason.SETTLING, why)
        if _drains_in_time(policy, value, state, now_s):
            why = f"{why} The queue drains fast enough."
            return _Advice(num_desired, ScalingReason.QUEUE_DRAINS, why)
        wanted = math.ceil(signals.num_ready * min(ratio, policy.max_growth) - 1e-9)
        if wanted <= num_desired or num_desired >= policy.max:
            return _Advice(num_desired, ScalingReason.SIGNAL, why)
        # A queue outlasts the peak that caused it: the recent peak exceeded the capacity.
        if peak_rps is None or not state.has_met_target:
            return _Advice(wanted, ScalingReason.SIGNAL, why)
        observation = CapacityObservation(now_s, signals.num_ready, peak_rps)
        return _Advice(wanted, ScalingReason.SIGNAL, why, observation)
    if ratio > policy.scale_down_threshold or peak_rps is None:
        return _Advice(num_desired, ScalingReason.SIGNAL, why)
    if peak_rps == 0.0:
        return _Advice(1, ScalingReason.NO_REQUESTS, "No requests.")
    if any(
        observation.num_replicas >= num_desired - 1
        and peak_rps > observation.rps * (1.0 - policy.tolerance)
        for observation in state.observations
    ):
        why = f"{why} Fewer replicas did not sustain this load."
        return _Advice(num_desired, ScalingReason.CAPACITY, why)
    return _Advice(num_desired - 1, ScalingReason.SIGNAL, why)


def _drains_in_time(
    policy: AutoscalingPolicy, value: float, state: ScalingState, now_s: float
) -> bool:
    """Whether the queue shrinks so fast that another replica would be ready too late to help."""
    since_s = now_s - policy.settle_s
    earlier = [known for known in state.recommendations if known.at_s >= since_s]
    if not earlier or earlier[0].value is None or now_s - earlier[0].at_s < policy.settle_s / 2:
        return False
    slope = (value - earlier[0].value) / (now_s - earlier[0].at_s)
    return value + slope * policy.drain_horizon_s <= policy.target


def _peak_rps(
    policy: AutoscalingPolicy, rps: float | None, state: ScalingState, now_s: float
) -> float | None:
    if rps is None:
        return None
    recent = (
        recommendation.rps
        for recommendation in state.recommendations
        if recommendation.at_s >= now_s - policy.down_window_s
    )
    return max([rps, *(known for known in recent if known is not None)])


def _remembered(
    policy: AutoscalingPolicy,
    signals: SignalValues,
    num_desired: int,
    wanted: int,
    observation: CapacityObservation | None,
    state: ScalingState,
    now_s: float,
) -> ScalingState:
    rps, value = signals.values.get(Signal.RPS), signals.values.get(policy.signal)
    longest_s = max(policy.up_window_s, policy.down_window_s)
    # Without a state, the present number counts as the recommendation so far.
    earlier = state.recommendations or (Recommendation(now_s, num_desired, rps, value),)
    recommendations = (
        *(known for known in earlier if known.at_s >= now_s - longest_s),
        Recommendation(now_s, wanted, rps, value),
    )
    observations = tuple(
        known for known in state.observations if known.at_s >= now_s - policy.memory_s
    )
    if observation is not None:
        others = tuple(k for k in observations if k.num_replicas != observation.num_replicas)
        observations = (*others, observation)
    return replace(state, recommendations=recommendations, observations=observations)


def _stabilized(
    policy: AutoscalingPolicy, num_desired: int, state: ScalingState, now_s: float
) -> int:
    """Scale up to the minimum recommended in the up window, down to the maximum recommended in the
    down window."""

    *earlier, latest = state.recommendations

    def within(window_s: float) -> list[int]:
        kept = [known.num_replicas for known in earlier if known.at_s > now_s - window_s]
        return [*kept, latest.num_replicas]

    lowest_up = min(within(policy.up_window_s))
    highest_down = max(within(policy.down_window_s))
    if num_desired < lowest_up:
        return lowest_up
    return min(num_desired, highest_down)
