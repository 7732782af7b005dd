from headrace.dashboard.access.sessions import LINK_S, SESSION_S, Sessions

HASH = "hash-of-a-token"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_session_is_found_by_its_cookie_until_it_is_closed() -> None:
    sessions = Sessions()
    opened = sessions.open(HASH)
    other = sessions.open(HASH)
    assert sessions.find(opened.cookie) is opened.session
    sessions.close(opened.cookie)
    assert sessions.find(opened.cookie) is None
    assert sessions.find(other.cookie) is other.session
    assert sessions.find("") is None


def test_each_session_has_its_own_csrf_token() -> None:
    sessions = Sessions()
    assert sessions.open(HASH).session.csrf_token != sessions.open(HASH).session.csrf_token


def test_a_session_expires() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    opened = sessions.open(HASH)
    clock.now_s += SESSION_S - 1
    assert sessions.find(opened.cookie) is not None
    clock.now_s += 1
    assert sessions.find(opened.cookie) is None


def test_a_link_works_once() -> None:
    sessions = Sessions()
    code = sessions.create_link(HASH)
    assert sessions.redeem_link("hrl_unknown") is None
    assert sessions.redeem_link(code) == HASH
    assert sessions.redeem_link(code) is None


def test_a_link_expires() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    code = sessions.create_link(HASH)
    clock.now_s += LINK_S
    assert sessions.redeem_link(code) is None


def test_neither_cookies_nor_codes_are_stored() -> None:
    sessions = Sessions()
    secrets = [sessions.open(HASH).cookie, sessions.create_link(HASH)]
    stored = [*sessions._sessions, *sessions._links]
    assert len(stored) == 2
    assert not set(secrets) & set(stored)


def test_the_oldest_sessions_and_links_make_room() -> None:
    sessions = Sessions()
    first, second = sessions.open(HASH), sessions.open(HASH)
    for _ in range(999):
        sessions.open(HASH)
    assert sessions.find(first.cookie) is None
    assert sessions.find(second.cookie) is not None
    code = sessions.create_link(HASH)
    for _ in range(100):
        sessions.create_link(HASH)
    assert sessions.redeem_link(code) is None
