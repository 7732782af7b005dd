"""Counts tokens with a tokenizer.json, to check the server's usage."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from headrace.bench.errors import OptionError
from headrace.bench.records import RequestRecord

_FILE_NAME = "tokenizer.json"
_BATCH_SIZE = 1024


class TokenCounter:
    """Counts tokens without special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """One number per text; uses all cores."""
        batches = [texts[at : at + _BATCH_SIZE] for at in range(0, len(texts), _BATCH_SIZE)]
        return [
            len(encoding.ids)
            for batch in batches
            for encoding in self._tokenizer.encode_batch_fast(list(batch), add_special_tokens=False)
        ]


def load_token_counter(path: Path | None) -> TokenCounter | None:
    """Load a tokenizer.json, or that of a folder; None for None. Raises OptionError."""
    if path is None:
        return None
    file = path / _FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise OptionError(
            f"There is no {file}. Give a tokenizer.json or a folder that contains one."
        )
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise OptionError(f"{file} is no tokenizer: {error}.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenCounter(tokenizer)


def count_tokens_of(records: Iterable[RequestRecord], counter: TokenCounter) -> None:
    """Set ``num_counted_tokens`` of successful records, whose texts must have been kept."""
    successful = [record for record in records if record.is_successful]
    counts = counter.count_all([record.text for record in successful])
    for record, count in zip(successful, counts, strict=True):
        record.num_counted_tokens = count
