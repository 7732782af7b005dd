"""Range checks for token ids that come from outside, before they are used as indices."""

from collections.abc import Collection, Sequence

from headrace.core.errors import InvalidParameterError

NUM_SHOWN = 20
"""Invalid ids that an error lists; it gives the number of further ones."""
_MAX_SHOWN_LENGTH = 40


def check_token_ids(param: str, token_ids: Collection[int], vocab_size: int) -> None:
    """Raises InvalidParameterError, naming the ids, unless all are in [0, vocab_size)."""
    if not token_ids or (min(token_ids) >= 0 and max(token_ids) < vocab_size):
        return
    wrong = list(dict.fromkeys(each for each in token_ids if not 0 <= each < vocab_size))
    raise InvalidParameterError(
        param,
        f"token ids must be in [0, {vocab_size}), the model's vocabulary; "
        f"out of it: {show_token_ids(wrong)}",
    )


def show_token_ids(token_ids: Sequence[object]) -> str:
    """The ids as an error lists them."""
    shown = ", ".join(map(show_value, token_ids[:NUM_SHOWN]))
    num_more = len(token_ids) - NUM_SHOWN
    return f"{shown} and {num_more} more" if num_more > 0 else shown


def show_value(value: object) -> str:
    """A value as an error shows it, truncated: a number may have thousands of digits."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}…"
