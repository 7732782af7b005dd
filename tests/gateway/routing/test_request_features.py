"""The features that are read from a body."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.gateway.routes import Sticky
from headrace.gateway.routing.request_features import MAX_PARSED_BYTES, features_of
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ServiceState
from headrace.testing.route_tables import route_table, service_route, target_route

PROMPT = "Once upon a time there was a mill by a stream. " * 20


def service(num_replicas: int, sticky: Sticky | None = None) -> ServiceState:
    router = Router(0.0)
    numbers = tuple(range(num_replicas))
    router.replace_table(
        route_table(service_route(target_route(1, 100, numbers), sticky=sticky)), 0
    )
    return router.services["openllm"]


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "stream": True, **fields}).encode()


def test_prompts_and_messages_are_hashed_by_prefix():
    two = service(2)
    first = features_of(two, None, body(prompt=PROMPT + "one"))
    other_order = json.dumps({"prompt": PROMPT + "two", "max_tokens": 3}).encode()
    assert first.prefix_hashes[:3] == features_of(two, None, other_order).prefix_hashes[:3]
    turn = [{"role": "user", "content": PROMPT}]
    chat = features_of(two, None, body(messages=turn))
    next_turn = features_of(
        two, None, body(messages=[*turn, {"role": "assistant", "content": PROMPT}])
    )
    num_hashes = len(chat.prefix_hashes)
    assert num_hashes == 3
    assert next_turn.prefix_hashes[:num_hashes] == chat.prefix_hashes
    assert len(next_turn.prefix_hashes) > num_hashes


def test_with_one_replica_the_body_is_not_parsed():
    assert features_of(service(1), None, body(prompt=PROMPT)).prefix_hashes == ()


def test_the_affinity_key_is_the_configured_header_or_the_user():
    by_header = service(2, Sticky(header="X-Session"))
    assert by_header.sticky_header == b"x-session"
    assert features_of(by_header, b"alice", body(user="bob")).sticky_key == b"alice"
    assert features_of(by_header, b"", body(user="bob")).sticky_key is None
    assert features_of(by_header, None, body(user="bob")).sticky_key is None
    by_user = service(1, Sticky(user=True))
    assert features_of(by_user, b"alice", body(user="bob")).sticky_key == b'"bob"'
    assert features_of(by_user, None, body(user="")).sticky_key is None
    assert features_of(by_user, None, body(user=None)).sticky_key is None
    assert features_of(by_user, None, body()).sticky_key is None
    assert features_of(service(2), b"alice", body(user="bob")).sticky_key is None


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b'{"prompt": ', b'"text"', b"\x00" * 999]
)
def test_a_body_other_than_a_json_object_has_no_features(broken):
    features = features_of(service(2, Sticky(user=True)), None, broken)
    assert features.sticky_key is None
    assert features.prefix_hashes == ()


@given(st.binary(max_size=600))
def test_arbitrary_bodies_never_raise(noise):
    features_of(service(2, Sticky(user=True)), None, noise)
    features_of(service(2, Sticky(user=True)), None, b'{"user": ' + noise)


def test_large_bodies_are_parsed_for_their_user_only():
    huge = body(user="bob", prompt="x" * MAX_PARSED_BYTES)
    assert features_of(service(2), None, huge).prefix_hashes == ()
    features = features_of(service(2, Sticky(user=True)), None, huge)
    assert features.sticky_key == b'"bob"'
    assert features.prefix_hashes == ()
