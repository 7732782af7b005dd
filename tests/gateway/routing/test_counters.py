"""Histograms, and the labels of a service's traffic."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing.counters import Histogram
from headrace.gateway.routing.topology import MAX_NUM_MODELS, OTHER_MODELS, ServiceState

EDGES = (0.001, 0.01, 0.1, 1.0)


@given(st.lists(st.one_of(st.floats(0, 2), st.sampled_from(EDGES)), max_size=200))
def test_values_are_counted_together_as_one_by_one(values: list[float]) -> None:
    together, one_by_one = Histogram(EDGES), Histogram(EDGES)
    together.observe_all(values)
    for value in values:
        one_by_one.observe(value)
    assert together.counts == one_by_one.counts
    assert abs(together.sum_s - one_by_one.sum_s) < 1e-9
    assert sum(together.counts) == len(values)


def test_the_number_of_models_is_bounded() -> None:
    service = ServiceState("svc")
    for number in range(MAX_NUM_MODELS + 50):
        service.traffic_of(1, "", f"model-{number}").num_retries += 1
    labels = [model for _, _, model in service.traffic]
    assert len(labels) == MAX_NUM_MODELS + 1
    assert labels[-1] == OTHER_MODELS
    assert service.traffic[(1, "", OTHER_MODELS)].num_retries == 50
    assert service.traffic_of(1, "", "model-0").num_retries == 1


def test_a_model_without_a_name_is_none_of_them() -> None:
    service = ServiceState("svc")
    assert service.traffic_of(None, "key", "") is service.traffic_of(None, "key", "")
    assert list(service.traffic) == [(None, "key", "")]
