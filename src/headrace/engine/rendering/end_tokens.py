"""The end-of-turn tokens of a model's tokenizer and chat template.

The engine core adds them to the ids that the checkpoint lists.
"""

from headrace.core.errors import InvalidRequestError
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.tokenization.tokenizer import Tokenizer

_PROBE = "probe of an assistant's turn"


def end_token_ids(tokenizer: Tokenizer, template: ChatTemplate) -> frozenset[int]:
    """The tokenizer's end-of-sequence token, and the token that ends an assistant's turn."""
    found = (tokenizer.eos_token_id, turn_end_token_id(tokenizer, template))
    return frozenset(token_id for token_id in found if token_id is not None)


def turn_end_token_id(tokenizer: Tokenizer, template: ChatTemplate) -> int | None:
    """The special token that the template writes right after an assistant's content; None if it
    writes none, or if there is no template."""
    after = _text_after_content(template)
    if after is None:
        return None
    # Of special tokens with a common prefix, the longest match is the token.
    ids = {text: token_id for token_id, text in tokenizer.special_tokens.items()}
    written = max(filter(after.startswith, ids), key=len, default=None)
    return None if written is None or written == tokenizer.bos_token else ids[written]


def _text_after_content(template: ChatTemplate) -> str | None:
    """The text after the content, without leading white space."""
    if template.source is None:
        return None
    roles = ("user", "assistant")
    try:
        text = template.render_once([{"role": role, "content": _PROBE} for role in roles])
    except InvalidRequestError:
        return None
    _, found, after = text.rpartition(_PROBE)
    return after.lstrip() if found else None
