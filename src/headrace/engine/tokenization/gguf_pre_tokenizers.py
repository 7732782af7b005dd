"""Pre-tokenizers by ``tokenizer.ggml.pre``: how a text is split before byte pairs are merged.

Names are llama.cpp's; the rules are those of the models' own tokenizer.json.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tokenizers import Regex, normalizers, pre_tokenizers

from headrace.core.errors import UnsupportedModelError

Step: TypeAlias = pre_tokenizers.PreTokenizer


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """Splitting and normalization of one family of vocabularies."""

    patterns: tuple[str, ...] = ()
    """Regular expressions, applied in order; matches and the text between them are split."""
    gpt2_words: bool = False
    """Whether GPT-2's own pattern is applied last."""
    single_digits: bool = False
    ignore_merges: bool = False
    """Whether a word that is a token is that token, even if merges would not build it."""
    adds_bos: bool = False
    """Whether BOS is added if the file does not specify it."""
    nfc: bool = False

    def pre_tokenizer(self) -> Step:
        steps: list[Step] = []
        if self.single_digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        steps += [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in self.patterns]
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.gpt2_words))
        return pre_tokenizers.Sequence(steps)

    def normalizer(self) -> normalizers.Normalizer | None:
        return normalizers.NFC() if self.nfc else None


def splitting_of(pre: str) -> Splitting:
    """The pre-tokenizer with this name; raises UnsupportedModelError for an unknown one."""
    for splitting, names in _FAMILIES.items():
        if pre in names:
            return splitting
    known = ", ".join(sorted(name for names in _FAMILIES.values() for name in names))
    raise UnsupportedModelError(
        f"The GGUF file's pre-tokenizer '{pre}' is not supported. Give the model's own tokenizer "
        f"with --tokenizer. Supported: {known}."
    )


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _words(digits: str, letters: str = r"\p{L}", contractions: str = _CONTRACTIONS + "|") -> str:
    """The pattern of cl100k and its descendants."""
    return (
        rf"{contractions}[^\r\n\p{{L}}\p{{N}}]?[{letters}]+|{digits}"
        rf"| ?[^\s{letters}\p{{N}}]+[\r\n]*|{_SPACES}"
    )


def _cased_words(digits: str, contractions: str) -> str:
    """The pattern of o200k and Tekken, which splits before capitals."""
    before = r"[^\r\n\p{L}\p{N}]?"
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    return (
        rf"{before}{upper}*{lower}+{contractions}|{before}{upper}+{lower}*{contractions}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


_ASCII_PUNCTUATION = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_DEEPSEEK3_WORDS = (
    _ASCII_PUNCTUATION + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_CJK_AND_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

_FAMILIES: Mapping[Splitting, tuple[str, ...]] = {
    Splitting(gpt2_words=True): (
        "gpt-2",
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "trillion",
        "granite-docling",
        "gigachat",
        "a.x-4.0",
        "mellum",
        "exaone4",
    ),
    Splitting(single_digits=True, gpt2_words=True): (
        "smollm",
        "starcoder",
        "refact",
        "command-r",
        "codeshell",
        "exaone",
        "minerva-7b",
        "mellum2",
    ),
    Splitting(patterns=(_words(r"\p{N}{1,3}"),), ignore_merges=True, adds_bos=True): (
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
    ),
    Splitting(patterns=(_words(r"\p{N}{1,3}"),)): ("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"),
    Splitting(patterns=(_words(r"\p{N}"),), nfc=True): ("qwen2", "deepseek-r1-qwen", "megrez"),
    Splitting(patterns=(_words(r"\p{N}"),)): (
        "stablelm2",
        "hunyuan",
        "solar-open",
        "grok-2",
        "kormo",
    ),
    Splitting(patterns=(_words(r"\p{N}", letters=r"\p{L}\p{M}"),), nfc=True): ("qwen35",),
    Splitting(patterns=(_cased_words(r"\p{N}", ""),), ignore_merges=True, adds_bos=True): (
        "tekken",
    ),
    Splitting(patterns=(_cased_words(r"\p{N}{1,3}", _CONTRACTIONS + "?"),)): (
        "gpt-4o",
        "llama4",
        "kanana2",
        "minimax-m2",
    ),
    Splitting(patterns=(r"\p{N}{1,3}", _CJK, _DEEPSEEK3_WORDS)): (
        "deepseek-v3",
        "hunyuan-dense",
        "joyai-llm",
    ),
    Splitting(patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_AND_HANGUL, r"\p{N}")): (
        "deepseek-coder",
    ),
    Splitting(patterns=(r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]")): ("falcon",),
    Splitting(patterns=(r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")): ("default",),
}
