"""The store of responses: bounded, and apart for each key."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.server.response_store import ENTRY_BYTES, ResponseStore, StoredResponse

OWNERS = (b"", b"one", b"two")
actions = st.lists(
    st.tuples(
        st.sampled_from(["add", "get", "delete"]),
        st.sampled_from(OWNERS),
        st.sampled_from(["r1", "r2", "r3", "r4"]),
        st.integers(0, 3000),
    ),
    max_size=60,
)


def entry(size: int) -> StoredResponse:
    return StoredResponse(b"r" * size, b"")


@given(actions=actions, max_responses=st.integers(0, 5), max_kb=st.integers(0, 10))
def test_it_holds_what_was_used_last_within_its_bounds(
    actions: list[tuple[str, bytes, str, int]], max_responses: int, max_kb: int
) -> None:
    max_bytes = max_kb * 1024
    store = ResponseStore(max_responses, max_bytes)
    kept: dict[tuple[bytes, str], StoredResponse] = {}
    """A model of the store, the least recently used first."""
    for kind, owner, name, size in actions:
        key = (owner, name)
        match kind:
            case "add":
                added = entry(size)
                kept.pop(key, None)
                fits = bool(max_responses) and added.size <= max_bytes
                assert store.add(owner, name, added) is fits
                if fits:
                    kept[key] = added
                while len(kept) > max_responses or sum(e.size for e in kept.values()) > max_bytes:
                    del kept[next(iter(kept))]
            case "get":
                assert store.get(owner, name) is kept.get(key)
                if key in kept:
                    kept[key] = kept.pop(key)
            case "delete":
                assert store.delete(owner, name) is (kept.pop(key, None) is not None)
        assert len(store) == len(kept) <= max_responses
        assert store.num_bytes == sum(each.size for each in kept.values()) <= max_bytes


def test_a_response_belongs_to_one_key() -> None:
    store = ResponseStore(10, 10_000)
    assert store.add(b"one", "r", entry(1))
    assert store.get(b"two", "r") is None
    assert not store.delete(b"two", "r")
    assert store.get(b"one", "r") is not None


def test_an_entry_counts_its_own_cost() -> None:
    """Else empty responses would be stored without a limit of memory."""
    assert entry(0).size == ENTRY_BYTES
