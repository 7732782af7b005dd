import pytest

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.token_ids import NUM_SHOWN, check_token_ids, show_token_ids


@pytest.mark.parametrize("token_ids", [[], [0], [99, 0, 50]])
def test_ids_of_the_vocabulary_are_accepted(token_ids: list[int]) -> None:
    check_token_ids("prompt", token_ids, 100)


def test_all_invalid_ids_are_named_once() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        check_token_ids("logit_bias", [5, -1, 100, 7, 100, 101], 100)
    assert caught.value.param == "logit_bias"
    assert str(caught.value).endswith("-1, 100, 101")


def test_only_the_first_of_many_invalid_ids_are_named() -> None:
    shown = show_token_ids(list(range(NUM_SHOWN + 500)))
    assert shown.endswith(f"{NUM_SHOWN - 1} and 500 more")


def test_a_huge_id_is_abbreviated() -> None:
    assert len(show_token_ids([10**5000, -(10**5000)])) < 100
