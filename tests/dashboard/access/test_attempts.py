from headrace.dashboard.access.attempts import MAX_NUM_FAILURES, WINDOW_S, SignInAttempts


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_client_waits_after_too_many_failures() -> None:
    clock = Clock()
    attempts = SignInAttempts(clock)
    for _ in range(MAX_NUM_FAILURES):
        assert attempts.wait_s("10.0.0.1") == 0
        attempts.note_failure("10.0.0.1")
    assert attempts.wait_s("10.0.0.1") == WINDOW_S
    assert attempts.wait_s("10.0.0.2") == 0
    clock.now_s += WINDOW_S - 10
    assert attempts.wait_s("10.0.0.1") == 10
    clock.now_s += 10
    assert attempts.wait_s("10.0.0.1") == 0


def test_a_success_clears_the_failures() -> None:
    attempts = SignInAttempts()
    for _ in range(MAX_NUM_FAILURES - 1):
        attempts.note_failure("10.0.0.1")
    attempts.note_success("10.0.0.1")
    attempts.note_failure("10.0.0.1")
    assert attempts.wait_s("10.0.0.1") == 0


def test_the_number_of_clients_is_bounded() -> None:
    attempts = SignInAttempts()
    for number in range(2000):
        attempts.note_failure(f"client-{number}")
    assert len(attempts._failures) == 1000
