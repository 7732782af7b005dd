"""What a start refuses, and what it leaves behind when it fails; nothing is started for long."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.control.client import ControlClient, find_credentials
from headrace.control.errors import ConflictError, LaunchError
from headrace.control.layout import Layout, UpOptions
from headrace.control.processes.ports import find_free_port
from headrace.control.supervisor.daemons import Daemons, load_options, save_options
from headrace.testing.certificates import write_certificate


def quiet(line: str) -> None:
    pass


def free_options(**more: object) -> UpOptions:
    port = find_free_port()
    admin_port = find_free_port({port})
    api_port = find_free_port({port, admin_port})
    return UpOptions(port=port, admin_port=admin_port, api_port=api_port, **more)  # type: ignore[arg-type]


def test_two_parts_do_not_share_a_port(tmp_path: Path) -> None:
    for options in (
        UpOptions(port=9000, admin_port=9000),
        UpOptions(admin_port=9000, api_port=9000),
        UpOptions(port=9000, api_port=9000),
        UpOptions(api_port=9000, monitoring=True, monitoring_port=9000),
    ):
        with pytest.raises(ConflictError, match="need different ports"):
            Daemons(Layout(tmp_path), options).start(quiet)
    assert load_options(Layout(tmp_path)) is None


def test_a_start_that_fails_leaves_the_options_of_the_last_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    failing = Daemons(layout, free_options(database_url="nonsense"))
    with pytest.raises(LaunchError, match=r"control plane exited at startup.*no scheme"):
        failing.start(quiet)
    assert load_options(layout) is None
    before = free_options()
    save_options(layout, before)
    with pytest.raises(LaunchError, match=r"control plane exited at startup.*no scheme"):
        failing.start(quiet)
    assert load_options(layout) == before
    assert failing.gateway.running() is None


ACCESS = UpOptions(
    ssl_certfile="/tls/cert.pem",
    ssl_keyfile="/tls/key.pem",
    api_ssl_certfile="/tls/api cert.pem",
    api_ssl_keyfile="/tls/api key.pem",
    allowed_hosts=("box.example", "*.example.com"),
    allowed_origins=("https://app.example",),
    allowed_methods=("GET", "POST"),
    allowed_headers=("*",),
    allow_credentials=True,
)


def test_each_part_gets_its_own_options(tmp_path: Path) -> None:
    daemons = Daemons(Layout(tmp_path), ACCESS)
    gateway, control = daemons.gateway.plan.command, daemons.control.plan.command
    assert gateway[gateway.index("--admin-port") + 2 :] == (
        "--ssl-certfile=/tls/cert.pem",
        "--ssl-keyfile=/tls/key.pem",
        "--allowed-hosts=box.example",
        "--allowed-hosts=*.example.com",
        "--allowed-origins=https://app.example",
        "--allowed-methods=GET",
        "--allowed-methods=POST",
        "--allowed-headers=*",
        "--allow-credentials",
    )
    assert control[control.index("--containers") + 2 :] == (
        "--ssl-certfile=/tls/api cert.pem",
        "--ssl-keyfile=/tls/api key.pem",
        "--allowed-hosts=box.example",
        "--allowed-hosts=*.example.com",
        "--allowed-origins=https://app.example",
    )
    assert daemons.control.plan.health_url.startswith("https://127.0.0.1:")
    assert ACCESS.gateway_url == "https://localhost:8080"
    assert ACCESS.api_url == "https://127.0.0.1:8090"


def test_monitoring_adds_a_prometheus_on_loopback_with_its_data_in_the_home(
    tmp_path: Path,
) -> None:
    assert Daemons(Layout(tmp_path), UpOptions()).prometheus is None
    daemons = Daemons(Layout(tmp_path), UpOptions(monitoring=True, monitoring_port=9999))
    assert daemons.prometheus is not None
    command = daemons.prometheus.plan.command
    assert "--web.listen-address=127.0.0.1:9999" in command
    assert f"--storage.tsdb.path={tmp_path}/monitoring/data" in command
    assert daemons.prometheus.plan.listens_on == (("127.0.0.1", 9999),)


def test_options_that_are_not_given_are_not_passed_on(tmp_path: Path) -> None:
    daemons = Daemons(Layout(tmp_path), UpOptions())
    for daemon in (daemons.gateway, daemons.control):
        assert not any("ssl" in word or "allow" in word for word in daemon.plan.command)


def test_requests_are_logged_if_wanted(tmp_path: Path) -> None:
    options = UpOptions(log_requests=True, log_format="json")
    command = Daemons(Layout(tmp_path), options).gateway.plan.command
    assert command[-3:] == ("--log-requests", "--log-format", "json")
    for unwanted in (UpOptions(), UpOptions(log_format="json")):
        command = Daemons(Layout(tmp_path), unwanted).gateway.plan.command
        assert not any(word.startswith("--log") for word in command)


def test_the_number_of_request_records_is_passed_on(tmp_path: Path) -> None:
    command = Daemons(Layout(tmp_path), UpOptions(request_records=0)).gateway.plan.command
    assert command[-2:] == ("--request-records", "0")


def test_a_later_start_finds_the_same_options(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    save_options(layout, ACCESS)
    assert load_options(layout) == ACCESS


@pytest.mark.parametrize("text", ["", "[]", "{", '{"port": 1, "nonsense": 2}', "1"])
def test_options_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    layout.make()
    layout.options_file.write_text(text)
    assert load_options(layout) is None


def test_the_api_speaks_https_to_the_command_line_and_other_options_are_refused(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path / "home")
    files = write_certificate(tmp_path)
    options = free_options(
        api_ssl_certfile=str(files.certfile),
        api_ssl_keyfile=str(files.keyfile),
        allowed_hosts=("box.example",),
    )
    # The gateway is not needed here: what is asked is the control plane.
    daemons = Daemons(layout, options)
    daemons._daemons = (daemons.control, daemons.control)
    daemons.start(quiet)
    try:
        with ControlClient(find_credentials(layout, {})) as client:
            assert client.services() == []
        other = Daemons(layout, replace(options, allowed_hosts=()))
        with pytest.raises(ConflictError, match=r"--allowed-hosts=box\.example"):
            other.start(quiet)
        plain = Daemons(layout, replace(options, api_ssl_certfile=None, api_ssl_keyfile=None))
        with pytest.raises(ConflictError, match=f"--api-ssl-certfile={files.certfile}"):
            plain.start(quiet)
        Daemons(layout, options)._refuse_other_options()
    finally:
        daemons.control.stop(30)
