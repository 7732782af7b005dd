"""Where a command names its port, and where it only looks so."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.manifests.fields.ports import (
    fill_ports,
    names_a_declared_port,
    port_environment,
    substitute_ports,
    unknown_port_variables,
)
from headrace.control.manifests.fields.workload import PortSpec

NAMED = [
    "serve --port 3000",
    "serve --port=3000",
    "serve --port '3000'",
    'serve --port="3000"',
    "serve -p 3000 --workers 2",
    "serve --server.port 3000",
    "serve --http-port 3000; echo done",
    "serve --port \\\n  3000",
    "serve --port 3000&",
    "(serve --port 3000)",
    "serve :3000",
    "serve --listen :3000",
    "serve --bind 0.0.0.0:3000",
    "serve --bind=[::]:3000",
    "serve --listen my-host.local:3000",
    "serve --url http://localhost:3000/v1",
    "curl http://127.0.0.1:3000",
    "curl http://$HOST:3000/",
    "PORT=3000 serve",
    "export HTTP_PORT=3000\nserve",
    "python -m http.server 3000",
    "nc -l localhost 3000",
    "docker run -p 3000:8000 image",
    "python -c 'app.run(host=\"x\", port=3000)'",
    "python -c 'app.listen(3000)'",
    "echo '{\"port\": 3000}' > c.json; serve c.json",
    "echo '{\"port\":3000}' > c.json; serve c.json",
    "cat > c.yaml <<EOF\nport: 3000\nEOF\nserve",
]

NOT_NAMED = [
    "serve --port 13000",
    "serve --port 30000",
    "serve --port 3000ms",
    "serve --port 3000.5",
    "serve --port 3000-3010",
    "serve --timeout 3000",
    "serve --timeout=3000",
    "serve --max-model-len 3000",
    "serve --max-model-len=3000",
    "serve --transport 3000",
    "serve --export 3000",
    "serve --report-every 3000",
    "sleep 3000",
    "timeout 3000 serve",
    "/usr/bin/timeout 3000 serve",
    "cat /data/3000",
    "cat 3000/part",
    "echo $3000 #3000 @3000 %3000 +3000 -3000 x3000 3000x 3_000",
    "echo '{\"max_tokens\": 3000}'",
    "echo '{\"max_tokens\":3000}'",
    "LENGTH=3000 serve",
    "curl http://example.com:3000/v1",
    "docker run image:3000",
    "docker run -p 8000:3000 image",
    "python -c 'f(max_tokens=3000)'",
    "python -c 'range(3000)'",
    "serve > 3000",
]


@pytest.mark.parametrize("command", NAMED)
def test_a_port_is_replaced(command: str) -> None:
    assert substitute_ports(command, {3000: 41873}) == command.replace("3000", "41873")


@pytest.mark.parametrize("command", NOT_NAMED)
def test_another_number_stays(command: str) -> None:
    assert substitute_ports(command, {3000: 41873}) == command


def test_the_inner_port_of_a_container_stays() -> None:
    assert substitute_ports("docker run -p 3000:3000 x", {3000: 5}) == "docker run -p 5:3000 x"


def test_ports_are_replaced_at_once_and_not_in_a_chain() -> None:
    command = "serve --port 3000 --metrics-port 4000"
    swapped = {3000: 4000, 4000: 3000}
    assert substitute_ports(command, swapped) == "serve --port 4000 --metrics-port 3000"


def test_a_length_that_equals_the_port_stays_beside_it() -> None:
    command = "vllm serve m --max-model-len 3000 --port 3000"
    expected = "vllm serve m --max-model-len 3000 --port 9"
    assert substitute_ports(command, {3000: 9}) == expected


ports = st.integers(min_value=1, max_value=65535)
command_text = st.text(alphabet="ab -=:.'\"/\n0123456789$pPort", max_size=60)


@given(command_text, st.dictionaries(ports, ports, max_size=3))
def test_only_whole_numbers_that_are_declared_change(
    command: str, host_ports: dict[int, int]
) -> None:
    changed = substitute_ports(command, host_ports)
    old, new = _numbers(command), _numbers(changed)
    assert len(old) == len(new)
    for before, after in zip(old, new, strict=True):
        assert after == before or host_ports[int(before)] == int(after)
    assert _without_numbers(changed) == _without_numbers(command)


@given(command_text)
def test_a_replica_on_its_declared_ports_runs_the_command_as_written(command: str) -> None:
    assert substitute_ports(command, {port: port for port in (1, 22, 333, 3000)}) == command


@given(st.lists(ports, min_size=1, max_size=4, unique=True), st.data())
def test_every_port_option_gets_its_own_host_port(declared: list[int], data: st.DataObject) -> None:
    host_ports = {port: data.draw(ports) for port in declared}
    command = "serve" + "".join(f" --port-{index} {port}" for index, port in enumerate(declared))
    expected = "serve" + "".join(
        f" --port-{index} {host_ports[port]}" for index, port in enumerate(declared)
    )
    assert substitute_ports(command, host_ports) == expected


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("3000", "3000"),
        ("http://localhost:3000/v1", "http://localhost:3000/v1"),
        ("${PORT}", "40001"),
        ("http://localhost:${PORT_API}/v1?p=${PORT}", "http://localhost:40002/v1?p=40001"),
        ("$${PORT}", "${PORT}"),
        ("$$${PORT}", "$${PORT}"),
        ("$PORT", "$PORT"),
        ("${PORTABLE} ${port} ${PORT_OTHER} {PORT}", "${PORTABLE} ${port} ${PORT_OTHER} {PORT}"),
    ],
)
def test_a_variable_changes_only_where_it_names_a_port(value: str, filled: str) -> None:
    assert fill_ports(value, {"PORT": "40001", "PORT_API": "40002"}) == filled


def test_names_of_ports_that_there_are_not_are_found() -> None:
    declared = [PortSpec(port=3000, name="api"), PortSpec(port=9090)]
    value = "${PORT} ${PORT_API} ${PORT_9090} ${PORT_3000} $${PORT_OTHER} ${PORT_X} ${PORT_X}"
    assert unknown_port_variables(value, declared) == ["PORT_3000", "PORT_X"]
    assert unknown_port_variables("${PORT}", []) == ["PORT"]


@pytest.mark.parametrize(
    ("name", "value", "is_port"),
    [
        ("GRADIO_SERVER_PORT", "7860", True),
        ("BASE_URL", "http://localhost:7860/v1", True),
        ("LENGTH", "7860", False),
        ("TEXT", "it listens on port 7860", False),
        ("T_DB_PORT", "5432", False),
    ],
)
def test_a_variable_that_may_mean_a_declared_port_is_recognized(
    name: str, value: str, is_port: bool
) -> None:
    assert names_a_declared_port(name, value, [PortSpec(port=7860)]) is is_port


def test_the_work_grows_as_the_command_does() -> None:
    """Quadratic work took minutes here."""
    command = "--port 3000 " * 5000
    assert substitute_ports(command, {3000: 4}) == "--port 4 " * 5000


def test_the_environment_names_every_port() -> None:
    declared = [
        PortSpec(port=22, name="shell", type="tcp"),
        PortSpec(port=3000, name="my-api"),
        PortSpec(port=9090),
    ]
    assert port_environment(declared, {22: 1, 3000: 2, 9090: 3}) == {
        "PORT": "2",
        "PORT_SHELL": "1",
        "PORT_MY_API": "2",
        "PORT_9090": "3",
    }


def test_without_a_port_that_speaks_http_the_first_is_the_port() -> None:
    declared = [PortSpec(port=22, name="shell", type="tcp")]
    assert port_environment(declared, {22: 7}) == {"PORT": "7", "PORT_SHELL": "7"}
    assert port_environment([], {}) == {}


def _numbers(text: str) -> list[str]:
    runs = "".join(character if character in string.digits else " " for character in text)
    return runs.split()


def _without_numbers(text: str) -> str:
    kept = []
    for character in text:
        mark = "#" if character in string.digits else character
        if not (mark == "#" and kept and kept[-1] == "#"):
            kept.append(mark)
    return "".join(kept)
