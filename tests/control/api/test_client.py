"""The client and each route, over a real server."""

import os
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from headrace.control.client import ControlClient, Credentials, find_credentials
from headrace.control.errors import ControlApiError
from headrace.control.layout import Layout
from headrace.control.resources import (
    Event,
    ProcessHandle,
    Replica,
    ReplicaState,
    RevisionPhase,
    RunState,
)
from headrace.testing.processes.control_api import ControlApi

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REVISION = """\
message: first
run: serve --port 3000
ports:
- {port: 3000, name: openllm, type: http}
- {port: 9100, name: probe, type: tcp}
env:
  MODEL_NAME: tiny
  HF_TOKEN: sesame
"""
GATEWAY = """\
enabled: true
targets:
- {number: 1, port: 3000, weight: 60}
- {number: 2, port: openllm, weight: 40}
"""
RUN = """\
name: job
description: does things
tags: [one]
run: echo hello
ports: [8000]
env: {API_KEY: sesame, LENGTH: 7}
"""


def replica(number: int, state: ReplicaState, **fields: object) -> Replica:
    return Replica(
        replica_id=f"svc-{number}-{state.value}",
        service="svc",
        revision=number,
        state=state,
        created_at=NOW,
        changed_at=NOW,
        **fields,  # type: ignore[arg-type]
    )


def test_services(client: ControlClient, api: ControlApi) -> None:
    assert client.services() == []
    made = client.create_service("svc")
    assert (made.name, made.num_revisions, made.gateway.enabled) == ("svc", 0, False)
    assert made.gateway.endpoint is None
    assert client.service("svc") == made
    assert client.services() == [made]
    assert client.gateway("svc") == made.gateway
    with pytest.raises(ControlApiError, match="'svc'") as refused:
        client.create_service("svc")
    assert refused.value.code == "conflict"
    client.delete_service("svc")
    assert client.services() == []
    assert api.num_wakes == 1


def test_a_revision_and_its_replicas(client: ControlClient, api: ControlApi) -> None:
    client.create_service("svc")
    made = client.create_revision("svc", REVISION, "revision.yaml", "/")
    assert (made.number, made.status, made.message) == (1, "starting", "first")
    assert (made.num_desired_replicas, made.num_ready_replicas) == (1, 0)
    assert made.runs_in == "host"
    assert made.command == "serve --port 3000"
    assert api.num_wakes == 1
    with api.store.begin() as tx:
        tx.add_replica(
            replica(1, ReplicaState.READY, process=ProcessHandle(7, 1.0), host_ports={3000: 41000})
        )
        tx.add_replica(replica(1, ReplicaState.FAILED, cause="Exited with code 1."))
    [read] = client.revisions("svc")
    assert client.revision("svc", 1) == read
    assert (read.status, read.num_ready_replicas) == ("running", 1)
    [live] = read.replicas
    assert (live.pid, live.state) == (7, "ready")
    assert [(port.port, port.host_port) for port in live.ports] == [(3000, 41000), (9100, None)]
    assert len(client.replicas("svc")) == 2


def test_what_runs_in_a_container_is_told(client: ControlClient) -> None:
    client.create_service("svc")
    made = client.create_revision("svc", f"image: torch:2\n{REVISION}", "r.yaml", "/")
    assert "no container runtime available for torch:2" in made.runs_in


def test_secrets_are_never_shown(client: ControlClient, api: ControlApi) -> None:
    client.create_service("svc")
    client.put_secret("hub", "open-sesame")
    with_secret = REVISION + "  OTHER: {secret: hub}\n"
    revision = client.create_revision("svc", with_secret, "revision.yaml", "/")
    assert revision.spec["env"] == {
        "MODEL_NAME": "tiny",
        "HF_TOKEN": "********",
        "OTHER": "(secret hub)",
    }
    run = client.create_run(RUN, "run.yaml", "/")
    assert run.spec["env"] == {"API_KEY": "********", "LENGTH": "7"}
    assert [secret.name for secret in client.secrets()] == ["hub"]
    with pytest.raises(ControlApiError, match="revision 1") as refused:
        client.delete_secret("hub")
    assert refused.value.code == "conflict"
    admin = api.client(api.admin_token)
    paths = ("services", "services/svc/revisions", "services/svc/revisions/1", "runs", "events",
             f"runs/{run.run_id}", "secrets", "tokens", "services/svc/replicas")  # fmt: skip
    for path in paths:
        answer = admin.get(f"/v1/{path}")
        assert answer.status_code == 200
        assert "sesame" not in answer.text, path


def test_problems_of_a_file_are_told_by_line(client: ControlClient) -> None:
    client.create_service("svc")
    with pytest.raises(ControlApiError) as caught:
        client.create_revision("svc", "rum: x\nports: [0]\n", "folder/r.yaml", "/")
    told = str(caught.value).splitlines()
    assert told[0].startswith("folder/r.yaml:1: ")
    assert "rum: unknown key; did you mean `run`?" in told[0]
    assert told[-1].startswith("folder/r.yaml:2: ports[0]")
    assert client.revisions("svc") == []
    secret = "run: x\nenv:\n  A: {secret: nope}\n"
    with pytest.raises(ControlApiError, match=r"^r.yaml:3: env.A.secret: .*'nope'") as refused:
        client.create_revision("svc", secret, "r.yaml", "/")
    assert refused.value.code == "invalid_manifest"
    with pytest.raises(ControlApiError, match="1048576") as refused:
        client.create_revision("svc", "#" * 2_000_000, "r.yaml", "/")
    assert refused.value.code == "payload_too_large"
    with pytest.raises(ControlApiError, match="'other'") as refused:
        client.create_revision("other", REVISION, "r.yaml", "/")
    assert refused.value.code == "not_found"


def test_a_gateway(client: ControlClient, api: ControlApi) -> None:
    client.create_service("svc")
    for _ in range(2):
        client.create_revision("svc", REVISION, "r.yaml", "/")
    gateway = client.update_gateway("svc", GATEWAY, "g.yaml", "/")
    assert (gateway.enabled, gateway.status) == (True, "pending")
    assert gateway.endpoint == "http://svc.localhost:8080"
    assert gateway.path_endpoint == "http://localhost:8080/svc"
    shares = [(target.number, target.port, target.weight) for target in gateway.targets]
    assert shares == [(1, 3000, 60), (2, 3000, 40)]
    assert gateway.applied_targets == []
    assert client.gateway("svc") == gateway == client.service("svc").gateway
    assert api.num_wakes == 3
    for text, told in (
        (GATEWAY.replace("60", "61"), r"g.yaml:\d+: targets"),
        (GATEWAY.replace("number: 1", "number: 7"), r"g.yaml:3: targets\[0\].number: .*revision 7"),
        (GATEWAY.replace("number: 1", "number: {number}"), "g.yaml:3: .*placeholder"),
        (GATEWAY.replace("number: 1", "number: 99999999999999999999"), r"g.yaml:3: targets\[0\]"),
        (GATEWAY.replace("3000", "9100"), "not an HTTP port"),
    ):
        with pytest.raises(ControlApiError, match=told):
            client.update_gateway("svc", text, "g.yaml", "/")
    assert client.gateway("svc") == gateway


def test_terminating_a_revision_moves_its_traffic(client: ControlClient) -> None:
    client.create_service("svc")
    for _ in range(2):
        client.create_revision("svc", REVISION, "r.yaml", "/")
    client.update_gateway("svc", GATEWAY, "g.yaml", "/")
    terminated = client.terminate_revision("svc", 1)
    assert terminated.revision.status == "terminating"
    [left] = terminated.gateway.targets
    assert (left.number, left.weight) == (2, 100)
    assert "revision 2 100%" in terminated.note
    with pytest.raises(ControlApiError) as refused:
        client.terminate_revision("svc", 1)
    assert refused.value.code == "conflict"
    assert "returns 503" in client.terminate_revision("svc", 2).note
    with pytest.raises(ControlApiError) as refused:
        client.delete_service("svc")
    assert refused.value.code == "conflict"


def test_keys_and_tokens_are_shown_once(client: ControlClient, api: ControlApi) -> None:
    client.create_service("svc")
    key = client.create_key("svc", "phone")
    assert key.key.startswith(key.prefix)
    [listed] = client.keys("svc")
    assert listed.model_dump() == key.model_dump(exclude={"key"})
    client.delete_key("svc", "phone")
    assert client.keys("svc") == []
    token = client.create_token("bob", "viewer")
    assert {one.name for one in client.tokens()} == {"admin", "viewer", "bob"}
    assert api.client(token.token).get("/v1/services").status_code == 200
    client.delete_token("bob")
    with pytest.raises(ControlApiError, match="admin") as refused:
        client.delete_token("admin")
    assert refused.value.code == "conflict"
    whole = api.client(api.admin_token).get("/v1/events").text
    assert key.key not in whole
    assert token.token not in whole


def test_runs(client: ControlClient, api: ControlApi) -> None:
    run = client.create_run(RUN, "run.yaml", "/")
    assert (run.name, run.description, run.tags) == ("job", "does things", ["one"])
    assert (run.type, run.state, run.command) == ("batch", "pending", "echo hello")
    assert client.run(run.run_id) == run
    again = client.reproduce_run(run.run_id)
    assert again.reproduced_from == run.run_id
    assert [one.run_id for one in client.runs()] == [run.run_id, again.run_id]
    assert client.terminate_run(run.run_id).state == "terminated"
    with pytest.raises(ControlApiError, match="ended") as refused:
        client.terminate_run(run.run_id)
    assert refused.value.code == "conflict"
    told = [event.what for event in client.events(run_id=run.run_id)]
    assert told == ["created", "terminated"]
    assert api.num_wakes == 3
    with pytest.raises(ControlApiError, match=r"^run.yaml:1: ") as refused:
        client.create_run("nmae: job\nrun: x", "run.yaml", "/")
    assert refused.value.code == "invalid_manifest"


def test_events_are_the_latest_oldest_first(client: ControlClient, api: ControlApi) -> None:
    with api.store.begin() as tx:
        for number in range(5):
            at = NOW + timedelta(seconds=number)
            tx.add_event(Event(at, "service svc", str(number), "because", service="svc"))
    assert [event.what for event in client.events(service="svc", limit=2)] == ["3", "4"]
    assert client.events(service="other") == []


def test_a_name_from_a_command_line_stays_one_part_of_the_path(client: ControlClient) -> None:
    for name in ("svc/revisions", "../health"):
        with pytest.raises(ControlApiError) as caught:
            client.service(name)
        assert caught.value.code == "invalid_name"


def test_a_log_is_followed_until_its_writer_is_gone(
    client: ControlClient, api: ControlApi, tmp_path: Path
) -> None:
    run = client.create_run(RUN, "run.yaml", "/")
    (tmp_path / "run").mkdir()
    log = tmp_path / "run" / "log"
    log.write_text("one\ntwo\n")
    with api.store.begin() as tx:
        tx.change_run(run.run_id, RunState.PENDING, RunState.IMPORTING, NOW, folder=str(log.parent))
    assert b"".join(client.run_log(run.run_id, follow=False, num_lines=1)) == b"two\n"
    pieces = client.run_log(run.run_id, follow=True, num_lines=None)
    assert next(pieces) == b"one\ntwo\n"
    with log.open("a") as writer:
        writer.write("three\n")
    with api.store.begin() as tx:
        tx.change_run(run.run_id, RunState.IMPORTING, RunState.FAILED, NOW)
    assert b"".join(pieces) == b"three\n"
    with pytest.raises(ControlApiError, match="'7'") as refused:
        next(client.run_log("7", follow=True, num_lines=None))
    assert refused.value.code == "not_found"


def test_a_followed_log_ends_with_its_service(
    client: ControlClient, api: ControlApi, tmp_path: Path
) -> None:
    client.create_service("svc")
    client.create_revision("svc", REVISION, "r.yaml", "/")
    log = tmp_path / "log"
    log.write_text("one\n")
    with api.store.begin() as tx:
        tx.add_replica(replica(1, ReplicaState.READY, log_path=str(log)))
    pieces = client.replica_log("svc", "svc-1-ready", follow=True, num_lines=None)
    assert next(pieces) == b"one\n"
    with api.store.begin() as tx:
        tx.set_phase("svc", 1, RevisionPhase.TERMINATED)
        tx.remove_service("svc")
    assert list(pieces) == []


def test_changes_at_once_are_each_made_once(api: ControlApi) -> None:
    with api.serving() as url, ControlClient(Credentials(url, api.admin_token)) as client:
        client.create_service("svc")
        failures: list[str] = []

        def create() -> None:
            with ControlClient(Credentials(url, api.admin_token)) as own:
                try:
                    own.create_revision("svc", REVISION, "r.yaml", "/")
                except ControlApiError as error:
                    failures.append(str(error))

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert [one.number for one in client.revisions("svc")] == list(range(1, 9))


def test_a_control_plane_that_is_gone_is_told() -> None:
    with (
        ControlClient(Credentials("http://127.0.0.1:9", "hrt_sesame")) as client,
        pytest.raises(
            ControlApiError, match=r"to the control plane at http://127\.0\.0\.1:9"
        ) as caught,
    ):
        client.services()
    assert caught.value.code == "unreachable"
    assert "sesame" not in str(caught.value)


def test_credentials_come_from_the_home_or_whole_from_the_environment(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(ControlApiError, match="headrace up") as refused:
        find_credentials(layout, {})
    assert refused.value.code == "no_credentials"
    layout.control.mkdir()
    layout.credentials.write_text('{"url": "http://127.0.0.1:1", "token": "local"}')
    assert find_credentials(layout, {}) == Credentials("http://127.0.0.1:1", "local")
    other = {"HEADRACE_API_URL": "http://127.0.0.1:2/", "HEADRACE_API_TOKEN": "theirs"}
    assert find_credentials(layout, other) == Credentials("http://127.0.0.1:2", "theirs")
    only_token = {"HEADRACE_API_TOKEN": "theirs"}
    assert find_credentials(layout, only_token) == Credentials("http://127.0.0.1:1", "theirs")
    # This machine's administrator's token is nobody else's to see.
    with pytest.raises(ControlApiError, match="HEADRACE_API_TOKEN") as refused:
        find_credentials(layout, {"HEADRACE_API_URL": "http://elsewhere.example"})
    assert refused.value.code == "no_credentials"
    assert "local" not in repr(find_credentials(layout, {}))


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://x", "http://[::bad", "http://", "http://me:sesame@127.0.0.1:8090"]
)
def test_an_address_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    environment = {"HEADRACE_API_URL": url, "HEADRACE_API_TOKEN": "theirs"}
    with pytest.raises(ControlApiError, match="HEADRACE_API_URL") as told:
        find_credentials(Layout(tmp_path), environment)
    assert told.value.code == "invalid_credentials"
    assert "sesame" not in str(told.value)


@pytest.mark.parametrize("token", ["ünï", "two\nlines", "two words"])
def test_a_token_that_cannot_be_sent_is_told_and_not_shown(tmp_path: Path, token: str) -> None:
    environment = {"HEADRACE_API_URL": "http://127.0.0.1:2", "HEADRACE_API_TOKEN": token}
    with pytest.raises(ControlApiError, match="HEADRACE_API_TOKEN") as told:
        find_credentials(Layout(tmp_path), environment)
    assert told.value.code == "invalid_credentials"
    assert token not in str(told.value)


class _Pages(BaseHTTPRequestHandler):
    """A web site, which has a page for whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html></html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_another_server_is_not_taken_for_a_control_plane() -> None:
    with HTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with ControlClient(
                Credentials(f"http://127.0.0.1:{server.server_port}", "t")
            ) as client:
                for ask in (client.services, lambda: client.service("x")):
                    with pytest.raises(ControlApiError) as caught:
                        ask()
                    assert caught.value.code == "unexpected_response"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}'])
def test_broken_credentials_are_none(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    layout.control.mkdir()
    layout.credentials.write_text(text)
    with pytest.raises(ControlApiError, match="headrace up") as refused:
        find_credentials(layout, {})
    assert refused.value.code == "no_credentials"


def test_no_proxy_of_the_environment_sees_a_token(
    api: ControlApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with api.serving() as url, ControlClient(Credentials(url, api.admin_token)) as client:
        assert client.services() == []
