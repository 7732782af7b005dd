"""The client against a server that sends given bytes: every failure has its kind."""

import asyncio
import json
import socket

import pytest

from headrace.bench.http.client import Client
from headrace.bench.http.request_body import RequestEncoder
from headrace.bench.load import event_loop
from headrace.bench.records import BenchTarget, Failure, PlannedRequest, RequestRecord
from headrace.testing.certificates import write_certificate
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, Then, stream, whole

USAGE = {"prompt_tokens": 3, "completion_tokens": 7}


def text_event(text, finish_reason=None):
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]})


def chat_event(**delta):
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


GOOD = [
    text_event("ab"),
    text_event(""),
    text_event("c", "length"),
    json.dumps({"choices": [], "usage": USAGE}),
    "[DONE]",
]
WHOLE = {"choices": [{"text": "abc", "finish_reason": "stop"}], "usage": USAGE}


def send_all(replies, *, num_requests=1, is_streamed=True, timeout_s=60.0, tls=None, **options):
    """Records of sequential requests, and the server that received them."""

    async def main():
        loop = asyncio.get_running_loop()
        async with ScriptedServer(replies, tls=tls) as server:
            target = BenchTarget("t", server.base_url, "m")
            encoder = RequestEncoder(target, "completions", is_streamed=is_streamed, extra_body={})
            request = encoder.encode(PlannedRequest(max_tokens=7), "hi")
            client = Client(target, is_streamed=is_streamed, timeout_s=timeout_s, **options)
            records = []
            for index in range(num_requests):
                record = RequestRecord(index, 0.0)
                began_s = loop.time()
                await client.send(request, record, began_s=0.0, keep_text=True)
                assert loop.time() - began_s < 30.0  # long before the timeout
                records.append(record)
            await client.close()
        return records, server

    return event_loop.run(main())


def send(reply, **options):
    records, _ = send_all([reply], **options)
    return records[0]


def test_a_stream():
    record = send(stream(GOOD))
    assert record.is_successful
    assert record.status == 200
    assert record.text == "abc"
    assert record.finish_reason == "length"
    assert (record.num_prompt_tokens, record.num_output_tokens) == (3, 7)
    assert len(record.chunk_times_s) == 2
    assert record.sent_s <= record.first_token_s == record.chunk_times_s[0] <= record.ended_s


def test_a_chat_stream_with_reasoning():
    events = [chat_event(role="assistant", content=""), chat_event(reasoning_content="hm")]
    events += [chat_event(content="yes"), "[DONE]"]
    record = send(stream(events))
    assert record.is_successful
    assert record.text == "hmyes"
    assert len(record.chunk_times_s) == 2


def test_an_empty_response_has_a_first_token_time():
    record = send(stream([text_event("", "stop"), "[DONE]"]))
    assert record.is_successful
    assert record.chunk_times_s == []
    assert record.first_token_s is not None


def test_a_response_without_streaming():
    record = send(whole(WHOLE), is_streamed=False)
    assert record.is_successful
    assert record.first_token_s is None
    assert (record.text, record.finish_reason, record.num_output_tokens) == ("abc", "stop", 7)


def test_a_chat_response_without_streaming():
    body = {"choices": [{"message": {"content": "abc"}, "finish_reason": "stop"}]}
    record = send(whole(body), is_streamed=False)
    assert record.is_successful
    assert record.text == "abc"
    assert record.num_output_tokens is None


def test_the_times_of_a_request_are_recorded():
    (first, second), _ = send_all([stream(GOOD)], num_requests=2)
    assert first.connect_s > 0
    assert second.connect_s == 0
    for record in (first, second):
        assert record.sent_s + record.connect_s <= record.head_s <= record.first_token_s
        assert record.num_bytes == len("".join(f"data: {event}\n\n" for event in GOOD))


def test_a_redirect_is_reported():
    record = send(whole({}, "308 Permanent Redirect"))
    assert record.failure is Failure.MALFORMED
    assert "a redirect" in record.error


def test_connections_are_reused():
    records, server = send_all([stream(GOOD)], num_requests=5)
    assert all(record.is_successful for record in records)
    assert server.num_connections == 1


def test_a_connection_closed_by_the_server_is_not_reused():
    closing = whole(WHOLE, headers={"Connection": "close"})
    replies = [Reply(closing.pieces, Then.CLOSE), whole(WHOLE)]
    records, server = send_all(replies, num_requests=2, is_streamed=False)
    assert all(record.is_successful for record in records)
    assert server.num_connections == 2


def test_a_server_that_closes_after_streams_loses_no_request():
    """As llama-server does, which announces keep-alive."""
    closing = Reply(stream(GOOD).pieces, Then.CLOSE)
    records, server = send_all([closing], num_requests=5)
    assert [record.failure for record in records] == [None] * 5
    assert server.num_connections == len(server.requests) == 5


CLOSING = [whole(WHOLE), Reply((), Then.CLOSE), whole(WHOLE)]


def test_a_request_on_a_stale_connection_is_retried():
    records, server = send_all(CLOSING, num_requests=2, is_streamed=False, stale_after_s=0.0)
    assert all(record.is_successful for record in records)
    assert len(server.requests) == 3


def test_a_request_cut_on_an_active_connection_is_a_failure():
    records, server = send_all(CLOSING, num_requests=3, is_streamed=False, stale_after_s=60.0)
    assert [record.failure for record in records] == [None, Failure.CUT, None]
    assert len(server.requests) == 3


def test_a_response_without_length_ends_with_its_connection():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    reply = Reply((head, json.dumps(WHOLE).encode()), Then.CLOSE)
    assert send(reply, is_streamed=False).is_successful


def test_interim_responses_are_skipped():
    reply = whole(WHOLE)
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    record = send(Reply((early, *reply.pieces)), is_streamed=False)
    assert record.is_successful
    assert record.status == 200


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
def test_a_stream_is_complete_after_done_despite_a_reset(then):
    assert send(stream(GOOD, is_ended=False, then=then)).is_successful


FAILURES = {
    "no answer": (Reply((), Then.CLOSE), Failure.CUT),
    "half a head": (Reply((b"HTTP/1.1 200 OK\r\nContent-",), Then.CLOSE), Failure.CUT),
    "cut in a stream": (stream(GOOD[:2], is_ended=False, then=Then.CLOSE), Failure.CUT),
    "reset in a stream": (stream(GOOD[:2], is_ended=False, then=Then.RESET), Failure.CUT),
    "no [DONE]": (stream(GOOD[:-1]), Failure.CUT),
    "empty stream": (stream([]), Failure.CUT),
    "nothing but [DONE]": (stream(["[DONE]"]), Failure.MALFORMED),
    "error in a stream": (
        stream([GOOD[0], '{"error": {"message": "no memory"}}', "[DONE]"]),
        Failure.ERROR_EVENT,
    ),
    "error as text": (stream(['{"error": "no memory"}']), Failure.ERROR_EVENT),
    "no JSON": (stream(['{"choices": [', "[DONE]"]), Failure.MALFORMED),
    "wrong JSON": (stream(['{"choices": 3}', "[DONE]"]), Failure.MALFORMED),
    "no UTF-8": (whole(b'data: {"choices":[{"text":"\xff"}]}\n\n'), Failure.MALFORMED),
    "no stream": (whole(WHOLE), Failure.MALFORMED),
    "no HTTP": (Reply((b"SSH-2.0-OpenSSH_9.2\r\n",)), Failure.MALFORMED),
    "redirect": (whole(b"", "302 Found", {"Location": "/"}), Failure.MALFORMED),
    "overloaded": (whole({"error": {"message": "busy"}}, "503 No"), Failure.HTTP_STATUS),
    "not found": (whole({"detail": "Not Found"}, "404 Not Found"), Failure.HTTP_STATUS),
    "bad gateway": (whole(b"<html>oops</html>", "502 Bad"), Failure.HTTP_STATUS),
    "hanging": (stream(GOOD[:2], is_ended=False, then=Then.HANG), Failure.TIMEOUT),
    "silent": (Reply((), Then.HANG), Failure.TIMEOUT),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_of_streams(name):
    reply, failure = FAILURES[name]
    record = send(reply, timeout_s=0.3 if failure is Failure.TIMEOUT else 60.0)
    assert record.failure is failure
    assert record.error
    assert "\n" not in record.error
    assert record.ended_s >= record.sent_s


def test_an_event_named_error_is_a_failure():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    body = b'event: error\ndata: {"message": "no memory"}\n\ndata: [DONE]\n\n'
    record = send(Reply((head, body), Then.CLOSE))
    assert record.failure is Failure.ERROR_EVENT
    assert record.error == "no memory"


@pytest.mark.parametrize(
    ("body", "reported"),
    [
        (b"{", "is not valid"),
        (b'{"choices": []}', "no choices"),
        (b'{"error": {"message": "no memory"}}', "no memory"),
    ],
)
def test_failures_without_streaming(body, reported):
    record = send(whole(body), is_streamed=False)
    assert record.failure is Failure.MALFORMED
    assert reported in record.error


def test_the_servers_error_message_is_reported():
    record = send(whole({"error": {"message": "too\nbusy"}}, "503 No"))
    assert record.status == 503
    assert record.error == "HTTP 503: too busy"


def test_after_a_failure_the_next_request_uses_a_new_connection():
    replies = [stream(GOOD[:1], is_ended=False, then=Then.HANG), stream(GOOD)]
    records, server = send_all(replies, num_requests=2, timeout_s=0.3)
    assert [record.failure for record in records] == [Failure.TIMEOUT, None]
    assert server.num_connections == 2


def test_a_refused_connection_is_a_failure():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        async def main():
            target = BenchTarget("t", f"http://127.0.0.1:{port}", "m")
            client = Client(target, is_streamed=True, timeout_s=60.0)
            record = RequestRecord(0, 0.0)
            await client.send(b"", record, began_s=0.0)
            return record

        record = event_loop.run(main())
    assert record.failure is Failure.CONNECT
    assert record.status is None
    assert str(port) in record.error


def test_a_cancelled_request_closes_its_connection():
    async def main():
        async with ScriptedServer([Reply((), Then.HANG)]) as server:
            client = Client(
                BenchTarget("t", server.base_url, "m"), is_streamed=True, timeout_s=60.0
            )
            request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
            sending = asyncio.create_task(client.send(request, RequestRecord(0, 0.0), began_s=0.0))
            async with asyncio.timeout(60.0):
                while not server.requests:
                    await asyncio.sleep(0.001)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                while server.num_open:
                    await asyncio.sleep(0.001)

    event_loop.run(main())


def test_connections_over_tls_are_reused(tmp_path, monkeypatch):
    files = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.certfile))
    records, server = send_all([stream(GOOD)], num_requests=2, tls=files.server_context())
    assert [record.error for record in records] == [None, None]
    assert server.num_connections == 1


def test_an_untrusted_certificate_is_a_failure(tmp_path):
    record = send(stream(GOOD), tls=write_certificate(tmp_path).server_context())
    assert record.failure is Failure.CONNECT
    assert "certificate" in record.error.lower()
