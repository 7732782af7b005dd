"""POST /tokenize and /detokenize, GET /tokenizer_info."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.token_ids import check_token_ids
from headrace.engine.tokenization.literal_text import HiddenTokens
from headrace.server.api.chat.prompt import render_job, render_prompt
from headrace.server.api.chat.tools import plan_tools
from headrace.server.api.schemas.tokenization import (
    MAX_TEXT_CHARS,
    NAMED_TOKENS,
    DetokenizeRequest,
    TokenizeRequest,
)
from headrace.server.http.json_body import json_response, read_json
from headrace.server.model_pool.request_model import config_of, serve_model


async def tokenize(request: Request) -> Response:
    """The token ids of a text or of rendered messages, of any length up to MAX_TEXT_CHARS.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    body = await read_json(request, TokenizeRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    hidden = HiddenTokens()
    text = body.prompt
    if text is None:
        chat = body.chat()
        job = render_job(chat, served.formats, plan_tools(chat).for_template())
        prompt = await render_prompt(chat, served, job, _check_length)
        text, hidden = prompt.text, prompt.hidden
    elif body.parse_special_tokens is False:
        text = await served.prompt_encoder.hide_special_tokens(text, hidden, len(text))
    encoded = await served.prompt_encoder.tokenize(
        text,
        add_special_tokens=body.adds_special_tokens,
        with_strings=bool(body.return_token_strs),
        hidden=hidden,
    )
    return json_response(
        {
            "count": len(encoded.token_ids),
            "max_model_len": served.engine.max_model_len,
            "tokens": encoded.token_ids,
            "token_strs": encoded.strings,
        }
    )


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidParameterError(
            "messages",
            f"have {len(text)} characters when rendered; at most {MAX_TEXT_CHARS} are tokenized",
        )


async def detokenize(request: Request) -> Response:
    """The text of token ids, special tokens included.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    body = await read_json(request, DetokenizeRequest, config_of(request).max_body_size)
    served = await serve_model(request, body.model)
    check_token_ids("tokens", body.tokens, served.engine.ready.vocab_size)
    [text] = await served.prompt_encoder.decode([body.tokens], skip_special_tokens=False)
    return json_response({"prompt": text})


async def tokenizer_info(request: Request) -> Response:
    """What tokenizer_config.json says, as far as the server uses it."""
    served = await serve_model(request, request.query_params.get("model"))
    tokenizer = served.engine.tokenizer
    named = tokenizer.named_tokens
    return json_response(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",  # of transformers, for the same file
            "model_type": type(tokenizer.backend.model).__name__,
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": served.engine.max_model_len,
            **{name: named.get(name) for name in NAMED_TOKENS},
            "special_tokens": named,
            "added_special_tokens": {
                str(token_id): text for token_id, text in tokenizer.special_tokens.items()
            },
            "chat_template": served.chat_template.source,
        }
    )
