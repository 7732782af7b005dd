"""The options of a workload."""

from dataclasses import dataclass
from pathlib import Path

from headrace.bench.errors import OptionError
from headrace.bench.http.request_body import ENDPOINTS

DATASETS = {
    "prompts": "a file of prompts: plain lines, or JSONL with prompt, messages or turns",
    "sharegpt": "a ShareGPT JSON file: the first question of each conversation",
    "conversations": "a ShareGPT or JSONL file: whole conversations, turn after turn",
    "humaneval": "HumanEval's .jsonl.gz",
    "random": "random prompts of a given length",
    "shared-prefix": "random prompts with a shared prefix",
    "azure": "an Azure LLM inference trace (CSV): lengths and arrival times",
    "mooncake": "a Mooncake trace (JSONL): lengths, arrival times and shared blocks",
}
"""Data sets by name, with a description."""

PROMPT_FORMS = ("auto", "text", "ids")

_WITHOUT_FILE = ("random", "shared-prefix")


@dataclass(frozen=True, slots=True)
class WorkloadOptions:
    """Which requests are sent; checked when it is created (OptionError)."""

    dataset: str
    path: Path | None = None
    """File of the data set; None for random ones."""
    prompt: str | None = None
    """For ``prompts``, instead of a file: this prompt, ``num_prompts`` times."""
    num_prompts: int | None = None
    """Number of rows to use (a conversation is one row); None for the whole file. More than the
    file has is an error, as repeated prompts would be served from the prefix cache."""
    seed: int = 0
    endpoint: str = "completions"
    """Or ``chat``."""
    input_len: int = 128
    """Tokens per random prompt, without its prefix."""
    output_len: int | None = None
    """``max_tokens`` of every request; None for that of the data set, or its default."""
    range_ratio: float = 0.0
    """Random lengths are uniform in ``[len * (1 - ratio), len * (1 + ratio)]``."""
    prefix_len: int | None = None
    """Length of the prefix that random prompts share; None for the data set's default."""
    num_prefixes: int = 1
    """Distinct prefixes, used in turn."""
    time_scale: float = 1.0
    """Factor for a trace's arrival times: 0.5 replays it twice as fast."""
    max_input_len: int | None = None
    """In tokens. Longer texts are skipped; longer prompts of a trace are truncated."""
    max_output_len: int | None = None
    """In tokens; an upper limit for ``max_tokens``."""
    ignore_eos: bool | None = None
    """Whether outputs always have ``max_tokens`` tokens. None: for random ones and traces only."""
    tokenizer: Path | None = None
    """A tokenizer.json or its folder, for exact lengths of texts."""
    vocab_size: int = 32_000
    """Random token ids are below it; set it to the model's if that is smaller."""
    prompt_form: str = "auto"
    """Of random prompts and traces: ``ids`` (exact lengths), ``text``, or ``auto``: ids for
    completions, text for chat."""

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise OptionError(
                f"There is no data set {self.dataset!r}. Choose one of: {', '.join(DATASETS)}."
            )
        if self.endpoint not in ENDPOINTS:
            raise OptionError(f"The endpoint is {' or '.join(ENDPOINTS)}, not {self.endpoint!r}.")
        if self.prompt_form not in PROMPT_FORMS:
            raise OptionError(f"The prompt form is one of {', '.join(PROMPT_FORMS)}.")
        if self.prompt_form == "ids" and self.endpoint == "chat":
            raise OptionError(
                "The chat endpoint accepts no token ids; use text, or --endpoint completions."
            )
        needs_file = self.dataset not in _WITHOUT_FILE and self.prompt is None
        if needs_file and self.path is None:
            raise OptionError(f"The data set {self.dataset} needs its file: give its path.")
        if self.path is not None and not needs_file:
            kinds = ", ".join(each for each in DATASETS if each not in _WITHOUT_FILE)
            raise OptionError(
                f"The data set {self.dataset} has no file. Say with --dataset what {self.path} is: "
                f"{kinds}."
            )
        for name in ("input_len", "num_prefixes", "vocab_size"):
            _check_at_least_one(name, getattr(self, name))
        for name in ("num_prompts", "output_len", "max_input_len", "max_output_len"):
            if (value := getattr(self, name)) is not None:
                _check_at_least_one(name, value)
        if self.prefix_len is not None and self.prefix_len < 0:
            raise OptionError(f"--prefix-len must not be negative, got {self.prefix_len}.")
        if not 0 <= self.range_ratio < 1:
            raise OptionError(f"--range-ratio must be in [0, 1), got {self.range_ratio:g}.")
        if not 0 <= self.time_scale < float("inf"):
            raise OptionError(f"--time-scale must be 0 or more, got {self.time_scale:g}.")

    @property
    def is_chat(self) -> bool:
        return self.endpoint == "chat"

    def num_output_tokens(self, wanted: int | None, default: int) -> int:
        """``max_tokens`` of a request; ``wanted`` is that of the data set."""
        num_tokens = next(each for each in (self.output_len, wanted, default) if each is not None)
        return num_tokens if self.max_output_len is None else min(num_tokens, self.max_output_len)


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise OptionError(f"--{name.replace('_', '-')} must be at least 1, got {value}.")
