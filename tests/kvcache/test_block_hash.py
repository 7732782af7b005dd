import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kvcache.block_hash import BlockHashChain

TOKEN_IDS = st.lists(st.integers(0, 3), min_size=12, max_size=12)


def chain_of(token_ids: list[int], salt: str = "", adapter_id: int = 0) -> list[bytes]:
    chain = BlockHashChain(4, salt, adapter_id)
    return list(chain.hashes(token_ids, 0, len(token_ids) // 4))


@given(TOKEN_IDS, TOKEN_IDS)
def test_hashes_are_equal_only_for_equal_prefixes(first: list[int], second: list[int]) -> None:
    for index, (one, other) in enumerate(zip(chain_of(first), chain_of(second), strict=True)):
        assert (one == other) == (first[: 4 * index + 4] == second[: 4 * index + 4])


def test_different_salts_have_different_hashes() -> None:
    token_ids = list(range(8))
    hashes = [*chain_of(token_ids), *chain_of(token_ids, "a"), *chain_of(token_ids, "b")]
    assert len(set(hashes)) == 6


@given(st.tuples(st.text(), st.integers(0, 300)), st.tuples(st.text(), st.integers(0, 300)))
def test_adapters_and_salts_have_hashes_of_their_own(
    first: tuple[str, int], second: tuple[str, int]
) -> None:
    token_ids = list(range(4))
    assert (chain_of(token_ids, *first) == chain_of(token_ids, *second)) == (first == second)


def test_a_salt_may_be_any_string() -> None:
    assert chain_of(list(range(4)), "\ud800") != chain_of(list(range(4)), "?")


@given(st.lists(st.integers(0, 4), min_size=1))
def test_incremental_hashing_equals_hashing_at_once(asked: list[int]) -> None:
    token_ids = list(range(100, 120))
    chain = BlockHashChain(4, "salt")
    whole = chain_of(token_ids, "salt")
    for index in asked:
        assert chain.hash_at(token_ids, index) == whole[index]


def test_hashes_are_stable_as_tokens_are_appended() -> None:
    token_ids = list(range(6))
    chain = BlockHashChain(4, "")
    first = chain.hash_at(token_ids, 0)
    token_ids += [9, 9]
    assert chain.hashes(token_ids, 0, 2) == chain_of([0, 1, 2, 3, 4, 5, 9, 9])
    assert chain.hash_at(token_ids, 0) == first


def test_an_incomplete_block_has_no_hash() -> None:
    with pytest.raises(ValueError, match="block 1 is not full: 7 tokens fill 1 blocks of 4"):
        BlockHashChain(4, "").hash_at(list(range(7)), 1)
