"""A conversation keeps what was said, and ends with its stream."""

import asyncio
import json
import threading
from collections.abc import Sequence

import pytest

from headrace.core.errors import InvalidInputError
from headrace.model_client.conversation import Conversation, Piece
from headrace.model_client.model_server import ModelServer, ModelServerError, parse_server_url
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, Then


def sse(*events: object, is_complete: bool = True) -> Reply:
    data = [json.dumps(event) for event in events] + (["[DONE]"] if is_complete else [])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return Reply((head, *(f"data: {each}\n\n".encode() for each in data)), Then.CLOSE)


def delta(**fields: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
REFUSED_BODY = b'{"error": {"message": "no such tokens"}}'
REFUSED = Reply(
    (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n",
        b"content-length: %d\r\n\r\n" % len(REFUSED_BODY),
        REFUSED_BODY,
    )
)


class Scripted:
    """A scripted server in a thread of its own."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._server = ScriptedServer(replies)
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._server:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        assert self._ready.wait(30)
        return self._server

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


def test_an_answer_is_streamed_and_kept() -> None:
    reply = sse(delta(reasoning="hm"), delta(content="Hel"), delta(content="lo"), END, USAGE)
    with Scripted([reply]) as server, ModelServer(parse_server_url(server.base_url)) as client:
        chat = Conversation(client, "m", {"temperature": 0.5}, "be brief")
        pieces = list(chat.ask("Hi"))
        assert pieces == [Piece("reasoning", "hm"), Piece("text", "Hel"), Piece("text", "lo")]
        assert chat.messages == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
        ]
        stats = chat.last_stats
        assert (stats.num_prompt_tokens, stats.num_output_tokens) == (5, 2)
        assert stats.finish_reason == "stop"
        list(chat.ask("Again"))
        first, second = (request.json for request in server.requests)
    assert first["temperature"] == 0.5
    assert [each["role"] for each in first["messages"]] == ["system", "user"]
    assert [each["content"] for each in second["messages"]] == ["be brief", "Hi", "Hello", "Again"]


def test_what_arrived_before_a_stop_is_the_answer() -> None:
    reply = sse(delta(content="One"), delta(content="Two"), END)
    with Scripted([reply]) as server, ModelServer(parse_server_url(server.base_url)) as client:
        chat = Conversation(client, "m")
        answer = chat.ask("Count")
        assert next(answer).text == "One"
        answer.close()
        assert chat.messages[-1] == {"role": "assistant", "content": "One"}
        assert chat.take_back() == "Count"
        assert chat.messages == []
        assert chat.take_back() is None


@pytest.mark.parametrize(
    "reply",
    [
        REFUSED,
        sse({"error": {"message": "failed"}}),
        sse(is_complete=False),
        Reply((), Then.CLOSE),
    ],
)
def test_a_question_without_an_answer_is_removed(reply: Reply) -> None:
    with Scripted([reply]) as server, ModelServer(parse_server_url(server.base_url)) as client:
        chat = Conversation(client, "m")
        with pytest.raises(ModelServerError):
            list(chat.ask("Hi"))
        assert chat.messages == []


def test_the_key_is_sent_and_not_shown() -> None:
    with Scripted([REFUSED]) as server:
        address = parse_server_url(f"{server.base_url}/v1/", " sesame ")
        with ModelServer(address) as client, pytest.raises(ModelServerError) as caught:
            client.models()
        assert "authorization: bearer sesame" in server.requests[0].head.lower()
    assert caught.value.status == 400
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "http://h:0", "http://h:x", "http://u:p@h", "http://h?q=1"]
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_server_url(url)
