"""What the commands that speak to the control plane print; against its real API."""

import errno
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from headrace.cli.errors import report_errors
from headrace.cli.main import build_app
from headrace.control.history.block import FINE
from headrace.control.history.revision_sample import RevisionSample
from headrace.control.history.ring import Ring, TimedSample
from headrace.control.resources import (
    ProcessHandle,
    Replica,
    ReplicaState,
    RevisionKey,
    RunState,
    Target,
)
from headrace.testing.processes.control_api import ControlApi

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REVISION = """\
message: OpenLLM mistralai/Mistral-7B-Instruct-v0.2 on vLLM
image: quay.io/vessl-ai/torch:2.2.0-cuda12.3-r3
resources:
  name: gpu-a10g-small
run: pip install --upgrade openllm[vllm]; openllm start mistralai/Mistral-7B-Instruct-v0.2 --backend vllm --port 3000 --max-model-len 4096
autoscaling:
  min: 1
  max: 3
  metric: gpu
  target: 60
ports:
  - port: 3000
    name: openllm
    type: http
"""  # noqa: E501
GATEWAY_V1 = """\
# gateway-v1.yaml

enabled: true
targets:
- number: {number}
  port: 3000
  weight: 100
"""
GATEWAY_V2 = """\
enabled: true
targets:
- number: 1
  port: 3000
  weight: 50
- number: 2
  port: 3000
  weight: 50
"""

Headrace = Callable[..., Result]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ControlApi]:
    api = ControlApi(tmp_path)
    yield api
    api.close()


@pytest.fixture
def headrace(
    api: ControlApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Headrace]:
    """Runs a command in a folder of its own, as an administrator; it must end with ``code``."""
    runner = CliRunner(env={"COLUMNS": "200"})
    monkeypatch.chdir(tmp_path)
    with api.serving() as url:
        environment = {"HEADRACE_API_URL": url, "HEADRACE_API_TOKEN": api.admin_token}

        def run(*arguments: str, stdin: str | bytes = "", code: int = 0, **env: str) -> Result:
            result = runner.invoke(build_app(), arguments, input=stdin, env={**environment, **env})
            assert result.exit_code == code, result.output
            return result

        yield run


@pytest.fixture
def service(headrace: Headrace, tmp_path: Path) -> str:
    """One service with one revision."""
    (tmp_path / "revision-v1.yaml").write_text(REVISION)
    headrace("service", "create", "openllm")
    headrace("revision", "create", "--serving", "openllm", "-f", "revision-v1.yaml")
    return "openllm"


def test_the_latest_metrics_of_each_revision_are_a_row(
    headrace: Headrace, service: str, api: ControlApi
) -> None:
    assert headrace("service", "stats", service).stdout.startswith("0 revision(s) with samples")
    key = RevisionKey(service, 1)
    with api.store.read() as queries:
        created_at = queries.history.created_at({key})
    now = datetime.now(UTC)
    ring = Ring(api.store)
    for age, sample in (
        (3, RevisionSample(requests_per_s=9.0)),
        (2, RevisionSample(2.5, 0.0, ttft_p95_s=0.1234, kv_cache_usage=0.5, num_ready_replicas=1)),
    ):
        at_s = FINE.step_begin(now.timestamp()) - age * FINE.step_s
        ring.write([TimedSample(key, FINE, at_s, sample)], created_at, now)
    told = headrace("service", "stats", "--service", service).stdout.splitlines()
    assert told[:2] == ["1 revision(s) with samples of the last hour.", "Means of 15 s."]
    assert re.split("  +", told[-1])[:6] == ["1", "1", "2.5", "0", "-", "123 ms"]
    assert " 50 % " in told[-1]
    whole = json.loads(headrace("service", "stats", service, "--json").stdout)
    assert [rate for rate in whole["revisions"][0]["requests_per_s"] if rate] == [9.0, 2.5]
    assert len(whole["times"]) == 240
    month = json.loads(headrace("service", "stats", service, "--period", "month", "--json").stdout)
    assert (month["step_s"], month["revisions"]) == (3600, [])
    assert "'year'" in headrace("service", "stats", service, "--period", "year", code=2).output
    refused = headrace("service", "stats", "nope", code=1)
    assert "Service 'nope' not found." in refused.stderr


def test_a_service_from_nothing(headrace: Headrace) -> None:
    assert headrace("service", "list").stdout.startswith("0 service(s) found.\nCreate one: ")
    made = headrace("service", "create", "openllm")
    assert made.stdout.splitlines() == [
        "Created service openllm.",
        "Next: headrace revision create --service openllm -f REVISION.yaml",
    ]
    for arguments in (("openllm",), ("--service", "openllm"), ("--serving", "openllm")):
        assert headrace("service", "read", *arguments).stdout.splitlines() == [
            "  Enabled False",
            "  Status success",
            "  Endpoint (not set)",
            "  Traffic Targets (empty)",
        ]
    listed = headrace("service", "list").stdout
    assert re.search(r"openllm +False +success +0 .*\(not set\)", listed)
    assert [one["name"] for one in json.loads(headrace("service", "list", "--json").stdout)] == [
        "openllm"
    ]
    assert headrace("service", "delete", "openllm").stdout == "Deleted service openllm.\n"


def test_revisions_are_listed_as_the_documents_show(
    headrace: Headrace, service: str, api: ControlApi
) -> None:
    with api.store.begin() as tx:
        tx.add_replica(Replica("openllm-1-x", service, 1, ReplicaState.READY, NOW, NOW))
    headrace("revision", "create", "-s", service, "-f", "-", stdin="message: two\nmodel: tiny\n")
    lines = headrace("revision", "list", "--serving", service).stdout.splitlines()
    assert lines == [
        "2 revision(s) found.",
        "",
        "  Number 1",
        "  Status running",
        "  Message OpenLLM mistralai/Mistral-7B-Instruct-v0.2 on vLLM",
        "",
        "  Number 2",
        "  Status starting",
        "  Message two",
    ]
    listed = json.loads(headrace("revision", "list", "-s", service, "--json").stdout)
    assert [(one["number"], one["status"]) for one in listed] == [(1, "running"), (2, "starting")]


def test_a_revision_tells_where_it_runs_and_on_which_ports(
    headrace: Headrace, service: str, api: ControlApi
) -> None:
    with api.store.begin() as tx:
        tx.add_replica(
            Replica(
                "openllm-1-abc", service, 1, ReplicaState.STARTING, NOW, NOW,
                cause="nothing listens on port 41000", process=ProcessHandle(7, 1.0),
                host_ports={3000: 41000},
            )
        )  # fmt: skip
    read = headrace("revision", "read", "-s", service, "-n", "1").stdout
    assert (
        "  Runs In host, in Headrace's own environment (no container runtime available for" in read
    )
    assert "  Ports 3000 (openllm, http)\n" in read
    assert (
        "  - openllm-1-abc starting, pid 7, 3000 (openllm, http) on 127.0.0.1:41000\n"
        "    nothing listens on port 41000\n"
    ) in read
    assert "  Note resources.name has no effect here: " in read


def test_a_revision_that_fails_shows_its_log(
    headrace: Headrace, service: str, api: ControlApi
) -> None:
    cause = "Exited with code 1. Last lines of the log:\nline 1\nline 2"
    with api.store.begin() as tx:
        for number in range(3):
            tx.add_replica(
                Replica(f"openllm-1-{number}", service, 1, ReplicaState.FAILED, NOW, NOW, cause)
            )
    read = headrace("revision", "read", "-s", service, "-n", "1").stdout
    assert "  Status failed\n" in read
    assert (
        "  Cause\n    Exited with code 1. Last lines of the log:\n    line 1\n    line 2\n" in read
    )


def test_traffic_is_shown_with_gauges(
    headrace: Headrace, service: str, api: ControlApi, tmp_path: Path
) -> None:
    (tmp_path / "gateway-v1.yaml").write_text(GATEWAY_V1)
    refused = headrace("gateway", "update", "--serving", service, "-f", "gateway-v1.yaml", code=1)
    assert refused.stdout == ""
    assert refused.stderr.startswith("Error: gateway-v1.yaml:5: targets[0].number: `{number}`")
    (tmp_path / "gateway-v1.yaml").write_text(GATEWAY_V1.replace("{number}", "1"))
    updated = headrace("gateway", "update", "--serving", service, "-f", "gateway-v1.yaml")
    assert updated.stdout.startswith("Successfully updated the gateway of service openllm.\n")
    assert "Try it: curl http://openllm.localhost:8080/v1/models" in updated.stdout
    read = headrace("service", "read", service).stdout
    assert "  Enabled True\n" in read
    assert "  Endpoint http://openllm.localhost:8080  (or http://localhost:8080/openllm)\n" in read
    assert "  Traffic Targets\n  - ########## 100%:  1 (port 3000)\n" in read
    assert "  Traffic Now (empty)\n" in read

    headrace("revision", "create", "-s", service, "-f", "revision-v1.yaml")
    headrace("gateway", "update", "-s", service, "-f", "-", stdin=GATEWAY_V2)
    with api.store.begin() as tx:
        gateway = tx.gateway(service)
        assert gateway is not None
        assert gateway.targets == (Target(1, 3000, 50), Target(2, 3000, 50))
    read = headrace("gateway", "read", "-s", service).stdout
    assert "  - #####       50%:  1 (port 3000)\n  - #####       50%:  2 (port 3000)\n" in read

    ended = headrace("revision", "terminate", "--serving", service, "-n", "1").stdout
    assert ended.startswith("Terminating revision 1 of service openllm: open requests end first.\n")
    assert "Traffic of revision 1 moves to the other targets: revision 2 100%.\n" in ended
    assert "  - ########## 100%:  2 (port 3000)\n" in ended


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (("service", "read", "nope"), "", "Service 'nope' not found."),
        (("service", "read"), "", "Missing service name, as in `headrace service read openllm`."),
        (("service", "create", "No"), "", "'No' is not a valid service name"),
        (("service", "create", "openllm"), "", "There is already a service 'openllm'."),
        (("service", "delete", "openllm"), "", "Revision 1 of service 'openllm' is active."),
        (("revision", "read", "-s", "openllm", "-n", "7"), "", "Revision 7 of service"),
        (("revision", "logs", "-s", "openllm", "-n", "1"), "", "has no replica yet"),
        (("revision", "create", "-s", "openllm", "-f", "nope.yaml"), "", "nope.yaml: No such file"),
        (("revision", "create", "-s", "openllm", "-f", "."), "", "Is a directory"),
        (("revision", "create", "-s", "openllm", "-f", "-"), "rnu: x", "stdin:1: rnu: unknown key"),
        (("service", "read", "a/b"), "", "'a/b' is not a valid name."),
        (("service", "read", ".."), "", "'..' is not a valid name."),
        (("service", "create", "a", "--service", "b"), "", "Two services given, a and b"),
        (("service", "events", "nope"), "", "Service 'nope' not found."),
        (("revision", "list", "-s", ""), "", "'' is not a valid name."),
        (("revision", "logs", "-s", "openllm", "-n", "7"), "", "Revision 7 of service"),
        (("run", "read", "../7"), "", "'../7' is not a valid name."),
        (("secret", "create", "a/b"), "x", "'a/b' is not a valid name."),
        (("run", "read", "7"), "", "Run '7' not found."),
        (("run", "terminate", "7"), "", "Run '7' not found."),
        (("secret", "create", "hub"), "", "The value is empty. The secret was not changed."),
        (("secret", "delete", "hub"), "", "Secret 'hub' not found."),
        (("token", "delete", "admin"), "", "the last admin token"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_goes_wrong_is_told_on_stderr(
    headrace: Headrace, service: str, arguments: tuple[str, ...], stdin: str, told: str
) -> None:
    refused = headrace(*arguments, stdin=stdin, code=1)
    assert refused.stdout == ""
    assert all(line.startswith("Error: ") for line in refused.stderr.splitlines())
    assert told in refused.stderr.splitlines()[0]


def test_each_problem_of_a_file_has_its_line(headrace: Headrace, service: str) -> None:
    text = "run: x\nports: [0]\nenv:\n  A: {secret: nope}\nrnu: y\n"
    refused = headrace("revision", "create", "-s", service, "-f", "-", stdin=text, code=1)
    lines = refused.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["Error", "Error"]
    assert lines[0].startswith("Error: stdin:2: ports[0]")
    assert lines[1].startswith("Error: stdin:5: rnu: unknown key; did you mean `run`?")


def test_a_file_that_is_no_text_is_refused(
    headrace: Headrace, service: str, tmp_path: Path
) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    refused = headrace("run", "create", "-f", "binary.yaml", code=1)
    assert refused.stderr == "Error: binary.yaml: not valid UTF-8\n"
    refused = headrace("run", "create", "-f", "-", stdin=b"\xff", code=1)
    assert refused.stderr == "Error: stdin: not valid UTF-8\n"


def test_runs(headrace: Headrace, api: ControlApi, tmp_path: Path) -> None:
    assert "0 run(s) found." in headrace("run", "list").stdout
    (tmp_path / "run.yaml").write_text(
        "name: vllm-server\ndescription: LLM server\nrun: serve\n"
        "ports: [{name: vllm, port: 8000}]\n"
        "env: {HF_TOKEN: sesame}\n"
    )
    made = headrace("run", "create", "-f", "run.yaml").stdout
    found = re.match(r"Created run '#(\d{12})' \(vllm-server\)\.\n", made)
    assert found is not None
    run_id = found[1]
    folder = tmp_path / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "log").write_text("one\ntwo\n")
    with api.store.begin() as tx:
        tx.change_run(
            run_id, RunState.PENDING, RunState.IMPORTING, NOW, folder=str(folder),
            host_ports={8000: 41000},
        )  # fmt: skip
    listed = headrace("run", "list").stdout
    heading = r"ID +Name +Type +Status +Created +Description"
    assert re.search(
        heading + rf".*\n *{run_id} +vllm-server +batch +importing +\S+ \S+ +LLM server", listed
    )
    read = headrace("run", "read", run_id).stdout
    assert f"  ID {run_id}\n  Name vllm-server\n  Description LLM server\n" in read
    assert "  Port 8000 (vllm, http) on 127.0.0.1:41000  http://127.0.0.1:41000\n" in read
    assert "created" in read
    assert "sesame" not in read
    assert "sesame" not in headrace("run", "read", run_id, "--json").stdout
    assert headrace("run", "logs", run_id).stdout == "one\ntwo\n"
    assert headrace("run", "logs", run_id, "--lines", "1").stdout == "two\n"
    again = headrace("run", "reproduce", run_id).stdout
    assert again.startswith("Created run '#")
    assert f"which reproduces '#{run_id}'" in again
    again_id = again.split("#")[1][:12]
    assert f"  Reproduces #{run_id}\n" in headrace("run", "read", again_id).stdout
    assert headrace("run", "terminate", run_id).stdout == f"Terminated '#{run_id}'.\n"
    runs = json.loads(headrace("run", "list", "--json").stdout)
    assert [one["state"] for one in runs] == ["terminating", "pending"]


def test_what_is_over_is_deleted_with_its_folder(
    headrace: Headrace, api: ControlApi, tmp_path: Path
) -> None:
    headrace("run", "create", "-f", "-", stdin="name: job\nrun: echo\n")
    [run] = json.loads(headrace("run", "list", "--json").stdout)
    run_id = run["run_id"]
    refused = headrace("run", "delete", run_id, code=1)
    assert f"Terminate it first: headrace run terminate {run_id}" in refused.stderr
    headrace("run", "terminate", run_id)
    folder = tmp_path / "runs" / run_id
    folder.mkdir(parents=True)
    assert headrace("run", "delete", run_id).stdout == f"Deleted '#{run_id}' and its folder.\n"
    assert not folder.exists()
    assert "0 run(s) found." in headrace("run", "list").stdout


def test_long_listings_say_that_there_is_more(headrace: Headrace, service: str) -> None:
    for _ in range(2):
        headrace("revision", "create", "-s", service, "-f", "revision-v1.yaml")
        headrace("run", "create", "-f", "-", stdin="name: job\nrun: echo\n")
    more = "Showing the newest 1; use --limit N for more."
    listed = headrace("revision", "list", "-s", service, "--limit", "1").stdout
    assert listed.splitlines()[-1] == more
    assert "Number 3" in listed
    assert "Number 2" not in listed
    assert headrace("run", "list", "--limit", "1").stdout.splitlines()[-1] == more
    assert "newest" not in headrace("run", "list").stdout
    for noun in (("revision", "list", "-s", service), ("run", "list")):
        assert len(json.loads(headrace(*noun, "--limit", "1", "--json").stdout)) == 1


def test_the_log_of_a_revision_is_its_newest_replicas(
    headrace: Headrace, service: str, api: ControlApi, tmp_path: Path
) -> None:
    headrace("revision", "create", "-s", service, "-f", "revision-v1.yaml")
    with api.store.begin() as tx:
        for number, revision in enumerate([1, 1, 2]):
            (tmp_path / f"log{number}").write_text(f"said by {number}\n")
            at = NOW + timedelta(seconds=number)
            tx.add_replica(
                Replica(
                    f"r{number}", service, revision, ReplicaState.FAILED, at, NOW,
                    log_path=str(tmp_path / f"log{number}"),
                )
            )  # fmt: skip
    assert headrace("revision", "logs", "-s", service, "-n", "1").stdout == "said by 1\n"
    assert headrace("revision", "logs", "-s", service, "-n", "2").stdout == "said by 2\n"


def test_secrets_come_from_stdin_and_are_never_printed(
    headrace: Headrace, service: str, api: ControlApi
) -> None:
    kept = headrace("secret", "create", "hub", stdin="open-sesame\n")
    assert kept.stdout == "Secret hub saved. Use it in a manifest as: {secret: hub}\n"
    with api.store.read() as queries:
        sealed = queries.secret("hub")
    assert sealed is not None
    assert api.context.vault.decrypt(sealed) == "open-sesame"
    assert headrace("secret", "list").stdout == "1 secret(s) found.\n  hub\n"
    assert headrace("secret", "delete", "hub").stdout == "Deleted secret hub.\n"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (b"hf_token\n", "hf_token"),
        (b"hf_token\r\n", "hf_token"),
        (b"hf_token\r", "hf_token"),
        (b"hf_token", "hf_token"),
        (b"\xef\xbb\xbfhf_token\r\n", "hf_token"),
        (b"two\r\nlines\r\n\r\n", "two\r\nlines\r\n"),
        (b" spaces \n", " spaces "),
    ],
)
def test_a_secret_ends_where_its_line_ends(
    headrace: Headrace, api: ControlApi, typed: bytes, kept: str
) -> None:
    headrace("secret", "create", "hub", stdin=typed)
    with api.store.read() as queries:
        sealed = queries.secret("hub")
    assert sealed is not None
    assert api.context.vault.decrypt(sealed) == kept


@pytest.mark.parametrize(
    "typed", [b"", b"\n", b"\r\n", b"\xef\xbb\xbf\r\n", b"a\0b\n", b"\xff\xfea\0"]
)
def test_what_is_no_secret_is_refused(headrace: Headrace, typed: bytes) -> None:
    headrace("secret", "create", "hub", stdin=typed, code=1)
    assert headrace("secret", "list").stdout.startswith("0 secret(s)")


def test_keys(headrace: Headrace, service: str) -> None:
    assert "requires no key" in headrace("service", "key", "list", "-s", service).stdout
    lines = headrace("service", "key", "create", "-s", service, "phone").stdout.splitlines()
    assert lines[0] == "Key 'phone' of service openllm (shown only once):"
    assert re.fullmatch(r"hrk_[0-9a-f]{64}", lines[1])
    listed = headrace("service", "key", "list", "-s", service).stdout
    assert "phone" in listed
    assert lines[1] not in listed
    assert lines[1][:8] in listed
    deleted = headrace("service", "key", "delete", "-s", service, "phone").stdout
    assert "accepts requests without one" in deleted


def test_tokens(headrace: Headrace) -> None:
    lines = headrace("token", "create", "bob").stdout.splitlines()
    assert lines[0] == "Token 'bob' (viewer, shown only once):"
    headrace("service", "list", HEADRACE_API_TOKEN=lines[1])
    refused = headrace("service", "create", "svc", HEADRACE_API_TOKEN=lines[1], code=1)
    assert refused.stderr == ("Error: Token 'bob' has the role viewer, which is read-only.\n")
    assert lines[1] not in headrace("token", "list").stdout
    headrace("token", "delete", "bob")
    refused = headrace("service", "list", HEADRACE_API_TOKEN=lines[1], code=1)
    assert refused.stderr.startswith("Error: Missing or invalid token.")


def test_events(headrace: Headrace, service: str) -> None:
    told = headrace("service", "events", service).stdout
    assert re.search(r"service openllm +created +Requested through the API\.", told)
    assert re.search(r"revision openllm/1 +created +From revision-v1.yaml\.", told)
    assert (
        len(json.loads(headrace("service", "events", service, "--limit", "1", "--json").stdout))
        == 1
    )


def test_without_a_platform_one_line_says_what_to_do(tmp_path: Path) -> None:
    environment = {"HEADRACE_HOME": str(tmp_path), "HEADRACE_API_URL": "", "HEADRACE_API_TOKEN": ""}
    done = CliRunner(env=environment).invoke(build_app(), ["service", "list"])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: No platform was started in {tmp_path}. ")
    assert done.stderr.count("\n") == 1


def test_what_makes_or_ends_something_tells_it_as_json_too(
    headrace: Headrace, service: str, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("run: echo\n")

    def asked(*arguments: str) -> dict[str, Any]:
        answer = json.loads(headrace(*arguments, "--json").stdout)
        assert isinstance(answer, dict)
        return answer

    assert asked("service", "create", "words")["name"] == "words"
    assert asked("service", "key", "create", "-s", service, "phone")["key"].startswith("hrk_")
    assert asked("token", "create", "bob")["token"].startswith("hrt_")
    assert asked("revision", "terminate", "-s", service, "-n", "1")["revision"]["number"] == 1
    run_id = asked("run", "create", "-f", "run.yaml")["run_id"]
    assert asked("run", "terminate", run_id)["state"] == "terminated"


def test_options_of_a_gateway_have_the_names_of_its_file(headrace: Headrace, service: str) -> None:
    manifest = (
        "targets: [{number: 1, weight: 100}]\nsticky: user\n"
        "limits: {request_timeout: 5m, max_body: 16MiB, max_queue: 7}\n"
    )
    told = headrace("gateway", "update", "-s", service, "-f", "-", stdin=manifest).stdout
    assert "  Sticky user\n" in told
    assert "  Limits request_timeout 300s, max_body 16MiB, max_queue 7\n" in told


def test_a_log_with_nothing_in_it_says_what_became_of_the_run(
    headrace: Headrace, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("run: echo\n")
    made = headrace("run", "create", "-f", "run.yaml", "--json").stdout
    run_id = json.loads(made)["run_id"]
    headrace("run", "terminate", run_id)
    told = headrace("run", "logs", run_id, "-f")
    assert told.stdout == ""
    assert told.stderr == (f"The log is empty. The run is terminated: headrace run read {run_id}\n")


def test_a_disk_that_is_full_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, report_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "state.db")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "Error: state.db: No space left on device.\n"
    with pytest.raises(BrokenPipeError), report_errors():
        raise BrokenPipeError


@pytest.mark.parametrize(
    "arguments",
    [
        ("revision", "read", "-s", "openllm", "-n", "0"),
        ("revision", "read", "-s", "openllm", "-n", "9" * 20),
        ("revision", "list"),
        ("revision", "list", "-s", "openllm", "--limit", "0"),
        ("revision", "list", "-s", "openllm", "--limit", "9999999"),
        ("revision", "logs", "-s", "openllm", "-n", "1", "--lines", "-1"),
        ("revision", "logs", "-s", "openllm", "-n", "1", "--lines", "9" * 12),
        ("run", "create"),
        ("up", "--port", "0"),
        ("up", "--admin-port", "65536"),
        ("up", "--api-port", "-1"),
        ("baseline", "tiny", "--port", "65536"),
        ("baseline", "tiny", "--port", "-1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(headrace: Headrace, arguments: tuple[str, ...]) -> None:
    headrace(*arguments, code=2)
