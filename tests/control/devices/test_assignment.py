from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.devices.assignment import Assigned, Holding, Unavailable, assign_gpus

TWO = ["GPU-a", "GPU-b"]


def held(holder: str = "svc revision 1", **shares: float) -> Holding:
    return Holding(holder, {f"GPU-{name}": share for name, share in shares.items()})


def shares_of(found: Assigned | Unavailable) -> dict[str, float]:
    assert isinstance(found, Assigned), found
    return found.shares


def why(found: Assigned | Unavailable) -> str:
    assert isinstance(found, Unavailable), found
    assert not found.is_final
    return found.why


def test_whole_gpus_are_the_first_that_nobody_has_a_part_of() -> None:
    assert shares_of(assign_gpus(1, [], TWO)) == {"GPU-a": 1}
    assert shares_of(assign_gpus(1, [held(a=0.001)], TWO)) == {"GPU-b": 1}
    assert shares_of(assign_gpus(2, [], TWO)) == {"GPU-a": 1, "GPU-b": 1}


def test_parts_fill_a_gpu_that_is_shared_before_they_begin_another() -> None:
    assert shares_of(assign_gpus(0.5, [held(b=0.5)], TWO)) == {"GPU-b": 0.5}
    assert shares_of(assign_gpus(0.3, [held(a=0.2), held(b=0.6)], TWO)) == {"GPU-b": 0.3}
    assert shares_of(assign_gpus(0.5, [held(a=0.6)], TWO)) == {"GPU-b": 0.5}
    ten = [held(a=0.1)] * 9
    assert shares_of(assign_gpus(0.1, ten, ["GPU-a"])) == {"GPU-a": 0.1}
    assert isinstance(assign_gpus(0.1, [*ten, held(a=0.1)], ["GPU-a"]), Unavailable)


@pytest.mark.parametrize("asked", [None, 0])
def test_who_asks_for_none_gets_none_and_so_does_everybody_where_there_is_none(
    asked: float | None,
) -> None:
    assert shares_of(assign_gpus(asked, [], TWO)) == {}
    assert shares_of(assign_gpus(8, [], [])) == {}


@pytest.mark.parametrize(
    ("asked", "holdings", "uuids", "told"),
    [
        (
            1,
            [held("openllm revision 1", a=1), held("openllm revision 1", b=1)],
            TWO,
            "Waiting for 1 GPU: all 2 are in use by openllm revision 1 (2 replicas).",
        ),
        (
            2,
            [held("run 42", b=0.5)],
            TWO,
            "Waiting for 2 GPUs: 1 of 2 is in use by run 42.",
        ),
        (
            0.5,
            [held("a revision 1", a=0.3), held("b revision 2", a=0.7), held("run 42", a=0)],
            ["GPU-a"],
            "Waiting for 0.5 GPU: the only one is in use by a revision 1, b revision 2 and run 42.",
        ),
        (
            3,
            [held("x revision 1", a=1, b=1)],
            [*TWO, "GPU-c"],
            "Waiting for 3 GPUs: 2 of 3 are in use by x revision 1.",
        ),
    ],
)
def test_who_has_to_wait_is_told_for_what_and_who_has_it(
    asked: float, holdings: Sequence[Holding], uuids: Sequence[str], told: str
) -> None:
    assert why(assign_gpus(asked, holdings, uuids)) == told


def test_more_than_there_are_is_refused_for_good() -> None:
    found = assign_gpus(3, [held(a=1)], TWO)
    assert found == Unavailable(
        "Insufficient GPUs: 3 requested, this machine has 2.", is_final=True
    )


asks = st.integers(1, 4) | st.integers(1, 999).map(lambda part: part / 1000)
steps = st.lists(asks | st.just("leave"), max_size=40)


@given(steps, st.integers(1, 4), st.data())
def test_no_gpu_is_ever_given_out_more_than_once_and_all_come_back(
    steps: list[float | str], num_gpus: int, data: st.DataObject
) -> None:
    uuids = [f"GPU-{number}" for number in range(num_gpus)]
    holdings: list[Holding] = []
    for step in steps:
        if isinstance(step, str):
            if holdings:
                del holdings[data.draw(st.integers(0, len(holdings) - 1))]
            continue
        found = assign_gpus(step, holdings, uuids)
        assert found == assign_gpus(step, list(holdings), tuple(uuids))
        if isinstance(found, Assigned):
            assert exact(sum(found.shares.values())) == exact(step)
            holdings.append(Holding("x", found.shares))
        else:
            assert found.is_final == (step > num_gpus)
            needed = exact(step) if step < 1 else Fraction(1)
            free = [1 - used(holdings, uuid) for uuid in uuids]
            assert sum(one >= needed for one in free) < max(step, 1)
        assert all(used(holdings, uuid) <= 1 for uuid in uuids)
    assert shares_of(assign_gpus(num_gpus, [], uuids)) == dict.fromkeys(uuids, 1)


def used(holdings: Sequence[Holding], uuid: str) -> Fraction:
    return sum((exact(one.shares.get(uuid, 0)) for one in holdings), Fraction(0))


def exact(share: float) -> Fraction:
    """In thousandths, as shares are asked for."""
    return Fraction(share).limit_denominator(1000)
