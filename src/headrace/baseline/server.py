"""The naive server: OpenAI's completions and chat completions with FastAPI, streamed and not.

generation.py computes. Parameters that it does not support are errors, so that no measurement
compares different work.
"""

import asyncio
import contextlib
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from headrace.baseline.generation import Answer, AnswerStream, Generator, Sampling
from headrace.baseline.loading import LoadedModel
from headrace.core.errors import HeadraceError

DEFAULT_COMPLETION_TOKENS = 16
"""As OpenAI's API has it; a chat goes on to the end of the context."""

Json = dict[str, Any]


class StreamOptions(BaseModel):
    include_usage: bool = False


class Body(BaseModel):
    """What both kinds of requests have in common."""

    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    stop: str | list[str] | None = None


class CompletionBody(Body):
    prompt: str | list[int]


class ChatMessage(BaseModel):
    role: str
    content: str


class ChatBody(Body):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)


class RefusedError(HeadraceError):
    """A request that cannot be answered."""

    code = "request_refused"

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def serve(loaded: LoadedModel, sock: socket.socket, announce: Callable[[str], None]) -> None:
    """Answer requests until a signal comes; ``announce`` gets the address when it does."""
    host, port = sock.getsockname()[:2]
    app = create_app(loaded, on_start=lambda: announce(f"http://{host}:{port}"))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, once uvicorn has ended in good order
        uvicorn.Server(config).run(sockets=[sock])


def create_app(loaded: LoadedModel, on_start: Callable[[], None] | None = None) -> FastAPI:
    """The whole server as an application."""
    generator = Generator(loaded)
    card = {
        "id": loaded.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "baseline",
        "max_model_len": loaded.max_model_len,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
    }

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if on_start is not None:
            on_start()
        yield
        generator.close()

    app = FastAPI(title="Headrace baseline", lifespan=lifespan)

    @app.exception_handler(RefusedError)
    async def refuse(request: object, error: RefusedError) -> JSONResponse:
        return JSONResponse(_error(str(error), "invalid_request_error"), error.status)

    @app.get("/health")
    async def health() -> Json:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> Json:
        return {"object": "list", "data": [card]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Json:
        _check_name(name, loaded)
        return card

    @app.post("/v1/completions")
    async def completions(body: CompletionBody) -> Response:
        _check(body, loaded)
        prompt = body.prompt
        if isinstance(prompt, str):
            prompt = loaded.tokenizer(prompt)["input_ids"]
        max_tokens = body.max_tokens or DEFAULT_COMPLETION_TOKENS
        reply = Reply("cmpl", "text_completion", loaded.name, len(prompt))
        return await respond(body, prompt, max_tokens, reply)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatBody) -> Response:
        _check(body, loaded)
        if loaded.tokenizer.chat_template is None:
            raise RefusedError(
                f"The model {loaded.name} has no chat template; use /v1/completions."
            )
        prompt = loaded.tokenizer.apply_chat_template(
            [message.model_dump() for message in body.messages],
            add_generation_prompt=True,
            return_dict=True,
        )["input_ids"]
        max_tokens = body.max_completion_tokens or body.max_tokens
        reply = ChatReply("chatcmpl", "chat.completion", loaded.name, len(prompt))
        return await respond(
            body, prompt, max_tokens or max(1, loaded.max_model_len - len(prompt)), reply
        )

    async def respond(body: Body, prompt: list[int], max_tokens: int, reply: Reply) -> Response:
        _check_length(len(prompt), max_tokens, loaded)
        sampling = Sampling(
            max_tokens,
            1.0 if body.temperature is None else body.temperature,
            1.0 if body.top_p is None else body.top_p,
            body.ignore_eos,
        )
        if not body.stream:
            return JSONResponse(reply.whole(await generator.answer(prompt, sampling)))
        wants_usage = body.stream_options is not None and body.stream_options.include_usage
        events = _events(generator.stream(prompt, sampling), reply, wants_usage)
        return StreamingResponse(events, media_type="text/event-stream")

    return app


class Reply:
    """Writes one completion: all at once, or as the chunks of a stream."""

    def __init__(self, prefix: str, kind: str, model: str, num_prompt_tokens: int) -> None:
        self._head: Json = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }
        self._num_prompt_tokens = num_prompt_tokens

    def whole(self, answer: Answer) -> Json:
        return {
            **self._head,
            "choices": [self._choice(answer.text, answer.finish_reason)],
            "usage": self._usage(answer),
        }

    def chunk(self, text: str, is_first: bool) -> Json:
        return {**self._head, "choices": [self._choice(text, None)]}

    def last_chunk(self, answer: Answer) -> Json:
        return {**self._head, "choices": [self._choice("", answer.finish_reason)]}

    def usage_chunk(self, answer: Answer) -> Json:
        return {**self._head, "choices": [], "usage": self._usage(answer)}

    def _choice(self, text: str, finish_reason: str | None) -> Json:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def _usage(self, answer: Answer) -> Json:
        return {
            "prompt_tokens": self._num_prompt_tokens,
            "completion_tokens": answer.num_tokens,
            "total_tokens": self._num_prompt_tokens + answer.num_tokens,
        }


class ChatReply(Reply):
    """The same for chat, whose texts are messages and, streamed, deltas."""

    def whole(self, answer: Answer) -> Json:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "logprobs": None,
            "finish_reason": answer.finish_reason,
        }
        return {**self._head, "choices": [choice], "usage": self._usage(answer)}

    def chunk(self, text: str, is_first: bool) -> Json:
        delta = {"role": "assistant"} if is_first else {}
        return self._delta({**delta, "content": text}, None)

    def last_chunk(self, answer: Answer) -> Json:
        return self._delta({}, answer.finish_reason)

    def usage_chunk(self, answer: Answer) -> Json:
        return {**super().usage_chunk(answer), "object": "chat.completion.chunk"}

    def _delta(self, delta: Json, finish_reason: str | None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


async def _events(stream: AnswerStream, reply: Reply, wants_usage: bool) -> AsyncIterator[str]:
    """An error in the midst becomes an event, and no [DONE] follows it."""
    is_first = True
    async for piece in stream.pieces():
        yield _event(reply.chunk(piece, is_first))
        is_first = False
    try:
        answer = await stream.answer()
    except asyncio.CancelledError:
        raise
    except Exception as error:
        yield _event(_error(f"Generation failed: {error}", "server_error"))
        return
    yield _event(reply.last_chunk(answer))
    if wants_usage:
        yield _event(reply.usage_chunk(answer))
    yield "data: [DONE]\n\n"


def _event(value: Json) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _error(message: str, kind: str) -> Json:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _check(body: Body, loaded: LoadedModel) -> None:
    if body.model is not None:
        _check_name(body.model, loaded)
    if body.n not in (None, 1):
        raise RefusedError("n: the baseline gives one answer a request; leave it out.")
    if body.stop:
        raise RefusedError("stop: not supported by the baseline; leave it out.")


def _check_name(name: str, loaded: LoadedModel) -> None:
    if name != loaded.name:
        raise RefusedError(
            f"The model '{name}' does not exist here; there is '{loaded.name}'.", 404
        )


def _check_length(num_prompt_tokens: int, max_tokens: int, loaded: LoadedModel) -> None:
    if not num_prompt_tokens:
        raise RefusedError("The prompt is empty.")
    if num_prompt_tokens + max_tokens > loaded.max_model_len:
        raise RefusedError(
            f"This model's maximum context length is {loaded.max_model_len} tokens, but the prompt "
            f"has {num_prompt_tokens} and max_tokens asks for {max_tokens} more."
        )
