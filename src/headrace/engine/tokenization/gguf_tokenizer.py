"""Builds a tokenizer from a GGUF file's ``tokenizer.ggml.*`` metadata: byte-level BPE or
SentencePiece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.engine.tokenization.gguf_pre_tokenizers import splitting_of

CHAT_TEMPLATE_KEY = "tokenizer.chat_template"


class TokenType(IntEnum):
    """The values of ``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, kw_only=True)
class GgufTokenizer:
    """The tokenizer that the metadata describes."""

    backend: Tokenizer
    named_tokens: Mapping[str, str]
    """Texts of bos_token, eos_token, unk_token and pad_token, as far as the file has them."""


def build_gguf_tokenizer(metadata: Mapping[str, object]) -> GgufTokenizer:
    """Raises UnsupportedModelError for an unsupported kind, ModelFileError for a damaged file."""
    fields = _Fields(metadata)
    model = fields.text("model")
    if model is None:
        raise ModelFileError("The GGUF file has no tokenizer. Give one with --tokenizer.")
    if model not in _BUILDERS:
        raise UnsupportedModelError(
            f"The GGUF file's tokenizer '{model}' is not supported. Give the model's own with "
            f"--tokenizer. Supported: {', '.join(_BUILDERS)}."
        )
    vocabulary = _read_vocabulary(fields)
    try:
        backend = _BUILDERS[model](vocabulary, fields)
    except (UnsupportedModelError, ModelFileError):
        raise
    except Exception as error:  # the library raises bare Exception
        raise ModelFileError(f"The GGUF file's tokenizer is damaged: {error}.") from error
    _add_tokens(backend, vocabulary)
    return GgufTokenizer(backend=backend, named_tokens=vocabulary.named)


@dataclass(frozen=True, kw_only=True)
class _Vocabulary:
    tokens: list[str]
    types: list[int]
    ids: dict[str, int]
    named: dict[str, str]


class _Fields:
    """The metadata under ``tokenizer.ggml.``, with type checks."""

    def __init__(self, metadata: Mapping[str, object]) -> None:
        self._metadata = metadata

    def text(self, name: str) -> str | None:
        value = self._get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(name)

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        raise self._wrong(name)

    def number(self, name: str) -> int | None:
        value = self._get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._wrong(name)

    def texts(self, name: str) -> list[str] | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._wrong(name)
        found = [item for item in value if isinstance(item, str)]
        if len(found) != len(value):
            raise self._wrong(name)
        return found

    def numbers(self, name: str) -> list[float] | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._wrong(name)
        found = [item for item in value if isinstance(item, int | float)]
        if len(found) != len(value):
            raise self._wrong(name)
        return found

    def _get(self, name: str) -> object:
        return self._metadata.get(f"tokenizer.ggml.{name}")

    def _wrong(self, name: str) -> ModelFileError:
        return ModelFileError(
            f"The GGUF file is damaged: tokenizer.ggml.{name} has the wrong type. Fetch it again."
        )


def _read_vocabulary(fields: _Fields) -> _Vocabulary:
    tokens = fields.texts("tokens")
    if not tokens:
        raise ModelFileError("The GGUF file's tokenizer has no tokens. Fetch the file again.")
    # Some files pad the table with empty tokens; each needs a unique name.
    tokens = [token or f"[EMPTY_{token_id}]" for token_id, token in enumerate(tokens)]
    ids = {token: token_id for token_id, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        twice = next(token for token_id, token in enumerate(tokens) if ids[token] != token_id)
        raise ModelFileError(f"The GGUF file is damaged: its token {twice!r} is duplicated.")
    types = [int(kind) for kind in fields.numbers("token_type") or [TokenType.NORMAL] * len(tokens)]
    if len(types) != len(tokens):
        raise ModelFileError(
            f"The GGUF file is damaged: it has {len(tokens)} tokens, but the types of {len(types)}."
        )
    defaults = _SENTENCEPIECE_IDS if fields.text("model") == "llama" else {}
    named: dict[str, str] = {}
    for name, key in _NAMED_KEYS.items():
        token_id = fields.number(key)
        if token_id is None:
            token_id = defaults.get(name)
        if token_id is not None and 0 <= token_id < len(tokens):
            named[name] = tokens[token_id]
    return _Vocabulary(tokens=tokens, types=types, ids=ids, named=named)


_NAMED_KEYS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
_SENTENCEPIECE_IDS = {"unk_token": 0, "bos_token": 1, "eos_token": 2}
"""Defaults of SentencePiece files."""


def _build_byte_level(vocabulary: _Vocabulary, fields: _Fields) -> Tokenizer:
    splitting = splitting_of(fields.text("pre") or "default")
    merges = fields.texts("merges")
    if merges is None:
        raise ModelFileError("The GGUF file's tokenizer has no merges. Fetch the file again.")
    backend = Tokenizer(
        BPE(
            vocab=vocabulary.ids,
            merges=[_split_merge(merge) for merge in merges],
            ignore_merges=splitting.ignore_merges,
        )
    )
    normalizer = splitting.normalizer()
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = splitting.pre_tokenizer()
    backend.decoder = decoders.ByteLevel()
    _add_ends(backend, vocabulary, fields, add_bos=splitting.adds_bos)
    return backend


def _split_merge(merge: str) -> tuple[str, str]:
    left, space, right = merge.partition(" ")
    if not (left and space and right):
        raise ModelFileError(f"The GGUF file is damaged: its merge {merge!r} is not two tokens.")
    return left, right


def _build_sentencepiece(vocabulary: _Vocabulary, fields: _Fields) -> Tokenizer:
    scores = fields.numbers("scores")
    if scores is None or len(scores) != len(vocabulary.tokens):
        raise ModelFileError("The GGUF file's tokenizer lacks scores. Fetch the file again.")
    backend = Tokenizer(
        BPE(
            vocab=vocabulary.ids,
            merges=_merges_by_score(vocabulary, scores),
            unk_token=vocabulary.named.get("unk_token"),
            fuse_unk=True,
            byte_fallback=TokenType.BYTE in vocabulary.types,
        )
    )
    spaces = normalizers.Replace(" ", "\u2581")
    decoding = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    if fields.flag("add_space_prefix", True):
        # Before each run of text between added tokens, as in Llama's own tokenizer.
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), spaces])
        decoding.append(decoders.Strip(" ", 1, 0))
    else:
        backend.normalizer = spaces
    backend.decoder = decoders.Sequence(decoding)
    _add_ends(backend, vocabulary, fields, add_bos=True)
    return backend


_BUILDERS = {"gpt2": _build_byte_level, "llama": _build_sentencepiece}


def _merges_by_score(vocabulary: _Vocabulary, scores: Sequence[float]) -> list[tuple[str, str]]:
    """SentencePiece's scores as merges: the pair whose merged token scores highest comes first.

    Of merged tokens with equal scores, SentencePiece takes the leftmost, which a list of merges
    cannot express. Of pairs with one merged token, the longer left part comes first, which is
    usually equivalent, and is what transformers' converter does.
    """
    unmergeable = {TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE}
    ids = {
        token: token_id
        for token, token_id in vocabulary.ids.items()
        if vocabulary.types[token_id] not in unmergeable
    }
    merges: list[_Merge] = []
    for union, union_id in ids.items():
        for cut in range(1, len(union)):
            left, right = union[:cut], union[cut:]
            if left in ids and right in ids:
                merges.append(_Merge(left, right, scores[union_id], union_id))
    merges.sort(key=lambda merge: (-merge.score, -len(merge.left), -len(merge.right), merge.id))
    return [(merge.left, merge.right) for merge in merges]


@dataclass(slots=True)
class _Merge:
    left: str
    right: str
    score: float
    id: int
    """Of the merged token."""


def _add_ends(
    backend: Tokenizer, vocabulary: _Vocabulary, fields: _Fields, *, add_bos: bool
) -> None:
    """Add BOS and EOS as the file specifies; ``add_bos`` is the default for BOS."""
    bos, eos = vocabulary.named.get("bos_token"), vocabulary.named.get("eos_token")
    start = bos if fields.flag("add_bos_token", add_bos) else None
    end = eos if fields.flag("add_eos_token", False) else None
    backend.post_processor = processors.TemplateProcessing(
        single=[*_piece(start, 0), "$A:0", *_piece(end, 0)],
        pair=[
            *(*_piece(start, 0), "$A:0", *_piece(end, 0)),
            *(*_piece(start, 1), "$B:1", *_piece(end, 1)),
        ],
        special_tokens=[
            (token, vocabulary.ids[token]) for token in {start, end} if token is not None
        ],
    )


def _piece(token: str | None, type_id: int) -> list[str]:
    return [] if token is None else [f"{token}:{type_id}"]


def _add_tokens(backend: Tokenizer, vocabulary: _Vocabulary) -> None:
    """Tokens that are matched verbatim in a text; control tokens are special."""
    control: list[str | AddedToken] = []
    user_defined: list[str | AddedToken] = []
    always_special = set(vocabulary.named.values())
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN) or token in always_special:
            control.append(AddedToken(token, normalized=False, special=True))
        elif kind == TokenType.USER_DEFINED:
            user_defined.append(AddedToken(token, normalized=False, special=False))
    backend.add_special_tokens(control)
    backend.add_tokens(user_defined)
