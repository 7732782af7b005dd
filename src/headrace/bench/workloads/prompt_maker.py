"""Synthetic prompts of a given number of tokens.

As token ids they have exactly the requested length, on any model. As text they consist of common
English words, each of which is a single token in nearly every vocabulary; their length is exact if
a tokenizer is given.
"""

import random
from collections.abc import Callable, Sequence

from headrace.bench.figures.token_counter import TokenCounter, load_token_counter
from headrace.bench.workloads.options import WorkloadOptions

FIRST_TOKEN_ID = 5
"""Lower ids are special tokens in many models."""

Piece = tuple[int | str, ...]
"""Part of a prompt, one entry per token: ids or words."""


class PromptMaker:
    """Draws pieces from a random source, and joins them to prompts."""

    def __init__(self, options: WorkloadOptions) -> None:
        self._is_text = options.prompt_form == "text" or (
            options.prompt_form == "auto" and options.is_chat
        )
        self._choices: Sequence[int | str]
        self._count: Callable[[str], int] | None = None
        """Set if texts must be counted, as the tokenizer does not map a word to a token."""
        if self._is_text:
            counter = load_token_counter(options.tokenizer)
            self._choices = _WORDS if counter is None else _single_tokens(_WORDS, counter)
            if counter is not None and not _adds_up(self._choices, counter):
                self._count = counter.count
        else:
            # Tests have vocabularies that small; any id is valid then.
            first = FIRST_TOKEN_ID if options.vocab_size > FIRST_TOKEN_ID else 0
            self._choices = range(first, options.vocab_size)

    def draw(self, num_tokens: int, source: random.Random) -> Piece:
        return tuple(source.choices(self._choices, k=num_tokens))

    def join(self, pieces: Sequence[Piece]) -> str | tuple[int, ...]:
        """The concatenation of the pieces, as a prompt."""
        entries = [entry for piece in pieces for entry in piece]
        if not self._is_text:
            return tuple(entry for entry in entries if isinstance(entry, int))
        text = " ".join(map(str, entries))
        return text if self._count is None else _fit(text, len(entries), self._count)


def _single_tokens(words: Sequence[str], counter: TokenCounter) -> list[str]:
    """The words that are one token each, at the start of a text and within it; all if none is."""
    alone = counter.count_all(words)
    base, *after = counter.count_all(["a", *(f"a {word}" for word in words)])
    fitting = [
        word
        for word, first, more in zip(words, alone, after, strict=True)
        if first == 1 and more == base + 1
    ]
    return fitting or list(words)


def _adds_up(words: Sequence[int | str], counter: TokenCounter) -> bool:
    """Whether a text has as many tokens as words: some tokenizers merge words."""
    sample = [*words, *reversed(words)]
    return counter.count(" ".join(map(str, sample))) == len(sample)


def _fit(text: str, num_tokens: int, count: Callable[[str], int]) -> str:
    """The text with words removed from or "a" appended to its end, until it has ``num_tokens``.

    If no number of words fits, it is as little shorter as possible.
    """
    words = text.split(" ")
    while len(words) > 1 and (num_found := count(" ".join(words))) > num_tokens:
        surplus = num_found - num_tokens
        del words[-max(1, surplus * len(words) // num_found) :]
    num_more = num_tokens - count(" ".join(words))
    while num_more > 0:
        longer = [*words, *(["a"] * num_more)]
        lack = num_tokens - count(" ".join(longer))
        if lack >= 0:
            words = longer
        num_more = lack if lack >= 0 else num_more // 2
    return " ".join(words)


_WORDS = """
able about above across after again air all almost along already also always among and any area
around art ask at away back bad base be because become been before began behind being best better
between big black blue body book both box boy bring brought build built business but buy by call
came can car care carry case cause center certain change child city class clear close cold come
common complete control cost could country course cut dark day dead deal death deep did different do
does door down draw drive each early earth east easy eat effect end enough even ever every example
eye face fact fall family far fast father feel feet few field figure fill final find fine fire first
fish five follow food foot for force form found four free friend from front full game gave general
get girl give go gold good got great green ground group grow had half hand happen hard has have he
head hear heart heat heavy help her here high him his hold home horse hot hour house how human
hundred idea if in inch into is island it its job just keep kind king knew know land language large
last late lead learn leave left less let letter level life light like line list little live long
look lot love low machine made main make man many map mark may mean men might mile mind miss money
month moon more morning most mother mountain move much music must my name near need never new next
night no north note nothing now number of off office often old on once one only open or order other
our out over own page paper part party pass past people person picture piece place plan plane play
point poor power present problem produce public pull put question quick rain ran reach read ready
real red rest right river road rock room round rule run said same saw say school sea second see seem
self sense serve set seven several shape she ship short should show side since sing sit six size
small so social some song soon sound south space special stand star start state stay step still stop
story street strong study such summer sun sure system table take talk teach tell ten test than that
the their them then there these they thing think this those though thought thousand three through
time to today together told too took top total toward town travel tree true try turn two under unit
until up upon us use very voice wait walk wall want war warm was watch water way we week weight well
went were west what wheel when where which while white who whole why wide will wind wish with
without woman wonder wood word work world would write year yes yet you young your
""".split()  # noqa: SIM905  (a list would take pages)
