"""One uniform random number for each (seed, choice, position), without state.

The same key gives the same number in any batch, process or device.

The generator is SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators",
OOPSLA 2014), whose n-th output is a pure function of its start and n. Seed and choice are mixed
into the start of a stream; the position is the place in it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UInt64s = NDArray[np.uint64]
Doubles = NDArray[np.float64]

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""The odd integer nearest 2**64 divided by the golden ratio: SplitMix64's step."""
_U64_MASK = 2**64 - 1


def stream_starts(seeds: Sequence[int], choices: Sequence[int]) -> UInt64s:
    """The start of the stream of each (seed, choice). Seeds may be any 64 bits, signed or not."""
    seed_bits = np.array([seed & _U64_MASK for seed in seeds], dtype=np.uint64)
    choice_bits = np.array(choices, dtype=np.uint64)
    # Two rounds, so that neither near seeds nor near choices give near streams.
    return _output(_output(seed_bits, np.uint64(0)), choice_bits)


def uniforms(starts: UInt64s, positions: UInt64s) -> Doubles:
    """Numbers in [0, 1) with 53 random bits, one for each stream at its position."""
    high_bits = _output(starts, positions) >> np.uint64(11)
    numbers: Doubles = high_bits * np.float64(2.0**-53)
    return numbers


def _output(start: UInt64s, position: UInt64s | np.uint64) -> UInt64s:
    """SplitMix64's output number ``position`` (from 0) from this start; all modulo 2**64."""
    z = start + (position + np.uint64(1)) * GOLDEN_GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64s = z ^ (z >> np.uint64(31))
    return mixed
