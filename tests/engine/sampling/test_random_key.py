import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.sampling.random_key import stream_starts, uniforms


def test_the_generator_is_splitmix64() -> None:
    # The first outputs for the state 1234567, as published with the reference implementation.
    numbers = uniforms(np.full(3, 1234567, dtype=np.uint64), np.arange(3, dtype=np.uint64))
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert numbers.tolist() == [(number >> 11) / 2**53 for number in published]


KEYS = st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 127), st.integers(0, 2**20))


@given(st.lists(KEYS, min_size=1, max_size=20))
def test_numbers_depend_only_on_the_key(keys: list[tuple[int, int, int]]) -> None:
    seeds, choices, positions = zip(*keys, strict=True)
    batch = uniforms(stream_starts(seeds, choices), np.array(positions, dtype=np.uint64))
    assert ((batch >= 0) & (batch < 1)).all()
    for key, number in zip(keys, batch, strict=True):
        alone = uniforms(stream_starts([key[0]], [key[1]]), np.array([key[2]], dtype=np.uint64))
        assert alone[0] == number


def test_adjacent_keys_give_uncorrelated_numbers() -> None:
    size = 4096
    zeros = np.zeros(size, dtype=np.uint64)
    counting = np.arange(size, dtype=np.uint64)
    by_seed = uniforms(stream_starts(range(size), [0] * size), zeros)
    by_choice = uniforms(stream_starts([7] * size, range(size)), zeros)
    by_position = uniforms(stream_starts([7] * size, [0] * size), counting)
    for numbers in (by_seed, by_choice, by_position):
        counts, _ = np.histogram(numbers, bins=64, range=(0, 1))
        chi_square = ((counts - size / 64) ** 2 / (size / 64)).sum()
        assert chi_square < 110  # 63 degrees of freedom: exceeded once in 4,000 times
        assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.06
    assert len({*by_seed, *by_choice, *by_position}) == 3 * size - 2  # (7, 0, 0) is in all three
