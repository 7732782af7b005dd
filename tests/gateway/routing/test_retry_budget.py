"""Retries are limited by recent requests, with a minimum for idle services."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing.retry_budget import MIN_RETRIES_PER_S, SHARE, WINDOW_S, RetryBudget

EVENTS = st.lists(
    st.tuples(st.sampled_from(["request", "retry", "retry", "retry"]), st.floats(0, 3)),
    max_size=400,
)


@given(EVENTS)
def test_no_window_exceeds_the_retry_budget(events):
    budget = RetryBudget()
    now = 100.0
    requests: list[float] = []
    retries: list[float] = []
    for kind, later in events:
        now += later**8 / 1000  # mostly at once, at times seconds later
        if kind == "request":
            budget.add_request(now)
            requests.append(now)
        elif budget.take(now):
            retries.append(now)
        # Buckets are whole seconds: the window is the last ten, the current one included.
        begin = int(now) - WINDOW_S + 1
        num_requests = sum(at >= begin for at in requests)
        num_retries = sum(at >= begin for at in retries)
        assert num_retries <= MIN_RETRIES_PER_S * WINDOW_S + SHARE * num_requests


def test_an_idle_service_has_a_minimum_budget():
    budget = RetryBudget()
    taken = [budget.take(1000.0) for _ in range(200)]
    assert taken.count(True) == MIN_RETRIES_PER_S * WINDOW_S
    assert taken == sorted(taken, reverse=True)


def test_a_busy_service_may_retry_a_fifth_of_its_requests():
    budget = RetryBudget()
    for _ in range(1000):
        budget.add_request(1000.0)
    assert sum(budget.take(1000.5) for _ in range(1000)) == 300


def test_the_budget_is_restored_after_the_window():
    budget = RetryBudget()
    while budget.take(1000.0):
        pass
    assert not budget.take(1000.0 + WINDOW_S - 1)
    assert budget.take(1000.0 + WINDOW_S)


def test_a_long_idle_period_resets_the_budget():
    budget = RetryBudget()
    for _ in range(1000):
        budget.add_request(1000.0)
    assert sum(budget.take(5000.0) for _ in range(1000)) == MIN_RETRIES_PER_S * WINDOW_S
