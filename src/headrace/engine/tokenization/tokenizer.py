"""Loads a model's tokenizer, from tokenizer.json or from its GGUF file, and encodes and decodes
texts.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from headrace.core.errors import (
    ContextLengthError,
    HeadraceError,
    ModelError,
    ModelFileError,
    ModelNotFoundError,
)
from headrace.engine.tokenization.gguf_tokenizer import CHAT_TEMPLATE_KEY, build_gguf_tokenizer
from headrace.engine.tokenization.text_bound import TextBound, text_bound
from headrace.engine.tokenization.token_bytes import TokenBytes
from headrace.models.loaders.gguf.file import open_gguf
from headrace.models.sources.files import ModelFiles


class Tokenizer:
    """One model's tokenizer, without padding and truncation. Thread-safe."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        named_tokens: Mapping[str, str] | None = None,
        chat_template: str | None = None,
    ) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.named_tokens = dict(named_tokens or {})
        """Texts by the names that templates use: bos_token, eos_token, unk_token, …"""
        self.chat_template = chat_template
        self.special_tokens = {
            token_id: token.content
            for token_id, token in backend.get_added_tokens_decoder().items()
            if token.special
        }
        """Their texts, by id."""
        self.special_ids = frozenset(self.special_tokens)
        self._bytes = TokenBytes(backend)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included; the model's embedding table may be larger."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def bos_token(self) -> str | None:
        return self.named_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        return self.named_tokens.get("eos_token")

    @property
    def bos_token_id(self) -> int | None:
        return None if self.bos_token is None else self.backend.token_to_id(self.bos_token)

    @property
    def eos_token_id(self) -> int | None:
        return None if self.eos_token is None else self.backend.token_to_id(self.eos_token)

    @functools.cached_property
    def text_bound(self) -> TextBound | None:
        """A lower bound of a text's number of tokens; None if there is none."""
        return text_bound(self.backend)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return self.encode_batch([text], add_special_tokens)[0]

    def encode_batch(
        self,
        texts: Sequence[str],
        add_special_tokens: bool = True,
        max_model_len: int | None = None,
    ) -> list[list[int]]:
        """The token ids of each text. Releases the GIL: the library does so for a batch, but not
        for a single text.

        Raises ContextLengthError for a text of ``max_model_len`` tokens or more.
        """
        encodings = self.backend.encode_batch_fast(
            list(texts), add_special_tokens=add_special_tokens
        )
        if max_model_len is not None:
            longest = max(map(len, encodings), default=0)
            if longest >= max_model_len:
                raise ContextLengthError(longest, max_model_len)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return self.decode_batch([ids], skip_special_tokens)[0]

    def decode_batch(
        self, prompts: Sequence[Sequence[int]], skip_special_tokens: bool = True
    ) -> list[str]:
        """The text of each list of token ids. Releases the GIL."""
        return self.backend.decode_batch(
            [list(ids) for ids in prompts], skip_special_tokens=skip_special_tokens
        )

    def token_text(self, token_id: int) -> str:
        """One token by itself, with its leading space; part of a character shows as U+FFFD."""
        return self._bytes[token_id].decode(errors="replace")

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """The tokens as in the vocabulary, such as ``Ġhello``; empty for an id without one."""
        to_token = self.backend.id_to_token
        return [to_token(token_id) or "" for token_id in token_ids]

    def token_bytes(self, token_id: int) -> bytes:
        """The token's bytes; empty for an id without a token."""
        return self._bytes[token_id]


def load_tokenizer(files: ModelFiles, override: str | None = None) -> Tokenizer:
    """The model's tokenizer, or the one of a directory, a tokenizer.json or a hub id.

    An override without a chat template keeps the model's. Raises ModelFileError,
    ModelNotFoundError or UnsupportedModelError.
    """
    if override is None:
        if files.format == "gguf":
            return _load_gguf(files.path)
        return _load_directory(files.path, files.path / TOKENIZER_FILE)
    tokenizer = _load_override(override)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _model_template(files)
    return tokenizer


TOKENIZER_FILE = "tokenizer.json"
_WANTED = (
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
"""Files to fetch from a hub repository for its tokenizer alone."""


def _load_override(override: str) -> Tokenizer:
    path = Path(override).expanduser()
    if path.is_dir():
        return _load_directory(path, path / TOKENIZER_FILE)
    if path.is_file() and path.suffix.lower() == ".gguf":
        return _load_gguf(path)
    if path.is_file():
        return _load_directory(path.parent, path)
    if override.startswith(("/", ".", "~")) or path.suffix in (".json", ".gguf"):
        raise ModelNotFoundError(f"There is no file or directory '{override}' for the tokenizer.")
    directory = _fetch(override)
    return _load_directory(directory, directory / TOKENIZER_FILE)


def _fetch(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(_WANTED)))
    except Exception as error:  # the library raises its own, its HTTP client's and OS errors
        raise ModelError(
            f"The tokenizer '{repo_id}' is not a local file or directory, and the hub did not "
            f"provide it ({type(error).__name__}). Check the name, the network and HF_TOKEN."
        ) from error


def _load_gguf(file: Path) -> Tokenizer:
    metadata = open_gguf(file).metadata
    try:
        built = build_gguf_tokenizer(metadata)
    except HeadraceError as error:
        raise type(error)(f"'{file}': {error}") from error
    return Tokenizer(
        built.backend,
        named_tokens=built.named_tokens,
        chat_template=_gguf_template(metadata),
    )


def _gguf_template(metadata: Mapping[str, object]) -> str | None:
    template = metadata.get(CHAT_TEMPLATE_KEY)
    return template if isinstance(template, str) and template else None


def _load_directory(directory: Path, file: Path) -> Tokenizer:
    settings = _read_settings(directory)
    backend = _read_backend(file) if file.is_file() else _convert(directory)
    named = _named_tokens(settings)
    _mark_special(backend, settings, named)
    return Tokenizer(
        backend, named_tokens=named, chat_template=_directory_template(directory, settings)
    )


def _read_backend(file: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise ModelFileError(f"'{file}' is damaged: {error}. Fetch it again.") from error


def _convert(directory: Path) -> tokenizers.Tokenizer:
    """For models with only an older format, such as SentencePiece's tokenizer.model. Code in the
    model's repository is not run."""
    from transformers import AutoTokenizer

    try:
        backend = AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        ).backend_tokenizer
    except Exception as error:  # whatever it or the libraries it needs raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFileError(
            f"'{directory}' has no tokenizer.json, and its tokenizer could not be converted: "
            f"{lines[0]} Give another with --tokenizer."
        ) from error
    assert isinstance(backend, tokenizers.Tokenizer)
    return backend


def _read_settings(directory: Path) -> dict[str, Any]:
    """tokenizer_config.json, which overrides the older special_tokens_map.json."""
    settings = _read_json(directory / "special_tokens_map.json")
    settings.update(_read_json(directory / "tokenizer_config.json"))
    return settings


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelFileError(f"'{file}' cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ModelFileError(f"'{file}' is damaged: {error}. Fetch it again.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"'{file}' is damaged: it is not a JSON object. Fetch it again.")
    return content


_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


def _named_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    found = {name: _content(settings.get(name)) for name in _NAMES}
    return {name: text for name, text in found.items() if text is not None}


def _content(token: object) -> str | None:
    """A token's text, given as a string or as the description of an added token."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None


def _mark_special(
    backend: tokenizers.Tokenizer, settings: Mapping[str, Any], named: Mapping[str, str]
) -> None:
    """Add the tokens of the settings that tokenizer.json lacks, as transformers does.

    Only tokens with a row in the model's embedding table: a new id would be out of its range.
    """
    listed = settings.get("added_tokens_decoder")
    descriptions = sorted(listed.items(), key=_order) if isinstance(listed, dict) else []
    for token_id, description in descriptions:
        text = _content(description)
        if text is None or backend.token_to_id(text) is not None:
            continue
        if str(backend.get_vocab_size(with_added_tokens=True)) == token_id:
            flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
            options = {flag: bool(description[flag]) for flag in flags if flag in description}
            backend.add_tokens([AddedToken(text, **options)])
    special = set(named.values())
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(key)
        values = more.values() if isinstance(more, dict) else more or ()
        special.update(text for text in map(_content, values) if text is not None)
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    backend.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False)
            for text in sorted(special - known)
            if backend.token_to_id(text) is not None
        ]
    )


def _order(item: tuple[str, Any]) -> int:
    return int(item[0]) if item[0].isdecimal() else 0


def _model_template(files: ModelFiles) -> str | None:
    if files.format == "gguf":
        return _gguf_template(open_gguf(files.path).metadata)
    return _directory_template(files.path, _read_settings(files.path))


def _directory_template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    file = directory / "chat_template.jinja"
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise ModelFileError(f"'{file}' cannot be read: {error}.") from error
    asked = _read_json(directory / "chat_template.json").get("chat_template")
    return _choose_template(asked if asked is not None else settings.get("chat_template"))


def _choose_template(value: object) -> str | None:
    """The template: a text, or the one named "default" of several."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        value = {
            entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)
        }
    if not isinstance(value, dict):
        return None
    chosen = value.get("default")
    return chosen if isinstance(chosen, str) and chosen else None
