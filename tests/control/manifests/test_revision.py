"""Files of revisions: every shape, and every mistake at its line."""

import json

import pytest

from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.revision import RevisionSpec, parse_revision


def spec_of(text: str) -> RevisionSpec:
    return parse_revision(text, "revision.yaml").spec


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_revision(text, "r.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_command_alone_is_enough() -> None:
    spec = spec_of("run: serve --port 8000")
    assert [step.command for step in spec.run] == ["serve --port 8000"]
    assert [port.port for port in spec.ports] == [8000]
    assert spec.exposed_port == 8000
    assert spec.engine == "command"
    assert (spec.autoscaling.min, spec.autoscaling.max) == (1, 1)
    assert spec.readiness.path == "/health"
    assert spec.readiness.timeout_s == 600
    assert spec.image is None


@pytest.mark.parametrize("prefix", ["", "service:\n  "])
def test_autoscaling_stands_at_the_top_or_under_service(prefix: str) -> None:
    spec = spec_of(
        f"run: x\n{prefix}autoscaling: {{min: 0, max: 3, metric: nvidia.com/gpu, target: 60}}"
    )
    autoscaling = spec.autoscaling
    assert (autoscaling.min, autoscaling.max) == (0, 3)
    assert (autoscaling.metric, autoscaling.target) == ("gpu", 60)


def test_the_newer_shape_of_service() -> None:
    spec = spec_of(
        "run: x\n"
        "ports: [3000, {port: 9090, name: metrics, type: TCP}]\n"
        "service:\n"
        "  expose: '3000'\n"
        "  monitoring:\n  - {port: '9090', path: /metrics}\n"
        "  healthcheck: {type: http, path: /ready, port: 3000}\n"
    )
    assert spec.exposed_port == 3000
    assert [(item.port, item.path) for item in spec.monitoring] == [(9090, "/metrics")]
    assert (spec.readiness.path, spec.readiness.port) == ("/ready", 3000)
    assert [(port.port, port.name, port.type) for port in spec.ports] == [
        (3000, None, "http"),
        (9090, "metrics", "tcp"),
    ]


def test_an_exposed_port_needs_no_ports() -> None:
    assert [port.port for port in spec_of("run: x\nexpose: 9000").ports] == [9000]


def test_the_first_port_that_speaks_http_is_exposed() -> None:
    spec = spec_of("run: x\nports: [{port: 22, type: tcp}, {port: 80, name: web}]")
    assert spec.exposed_port == 80
    assert spec.find_port("web") == spec.find_port(80) == spec.ports[1]
    assert spec.find_port("nothing") is None


def test_run_is_text_or_steps() -> None:
    spec = spec_of("run:\n- pip install .\n- command: |-\n    serve\n    wait\n  workdir: /code\n")
    assert [(step.command, step.workdir) for step in spec.run] == [
        ("pip install .", None),
        ("serve\nwait", "/code"),
    ]


@pytest.mark.parametrize(
    ("written", "url"),
    [("image: a/b:1", "a/b:1"), ("image: {url: a/b, credential_name: mine}", "a/b")],
)
def test_image_is_text_or_url_with_a_credential(written: str, url: str) -> None:
    spec = spec_of(f"run: x\n{written}")
    assert spec.image is not None
    assert spec.image.url == url


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{name: gpu-small}", {"name": "gpu-small"}),
        ("{cluster: a, preset: b}", {"cluster": "a", "preset": "b"}),
        ("{node_names: [n1, n2]}", {"node_names": ["n1", "n2"]}),
        ("{cpu: 500m, memory: 16Gi, gpu: 1}", {"cpu": 0.5, "memory": 16 * 1024**3, "gpu": 1}),
        ("{cpu: 4, accelerators: 'A100:2'}", {"cpu": 4, "gpu": 2}),
        ("{requests: {cpu: 4, nvidia.com/gpu: {quantity: '1'}}}", {"cpu": 4, "gpu": 1}),
        (
            "{spec: {cpu_limit: 4, memory_limit: 16G, gpu_limit: 1}}",
            {"cpu": 4, "memory": 16 * 10**9, "gpu": 1},
        ),
        ("{spec: gpu-small}", {"name": "gpu-small"}),
        ("{gpu: 0.5}", {"gpu": 0.5}),
        ("{accelerators: 'A100:0.25'}", {"gpu": 0.25}),
        ("{gpu: {quantity: 2, device_type: A100}}", {"gpu": 2}),
        ("{gpu: 0}", {"gpu": 0}),
    ],
)
def test_resources_have_many_shapes(written: str, expected: dict[str, object]) -> None:
    resources = spec_of(f"run: x\nresources: {written}").resources
    assert resources.model_dump(mode="json", exclude_defaults=True) == expected


@pytest.mark.parametrize(
    "env",
    [
        "{A: 1.10, B: no, C: {secret: s}, D: {value: true}, E: {value: v, secret: true}, F: ''}",
        "[{key: A, value: 1.10}, {name: B, value: no}, {key: C, secret: s, source: secret}, "
        "{key: D, value: true}, {key: E, value: v, secret: true}, {key: F, value: ''}]",
    ],
)
def test_env_values_stay_as_written(env: str) -> None:
    spec = spec_of(f"run: x\nenv: {env}")
    values = {name: (item.value, item.secret) for name, item in spec.env.items()}
    assert values == {
        "A": ("1.10", None),
        "B": ("no", None),
        "C": (None, "s"),
        "D": ("true", None),
        "E": ("v", None),
        "F": ("", None),
    }
    assert spec.env["E"].is_hidden


def test_plain_text_may_look_like_a_number() -> None:
    spec = spec_of("message: 2\nname: 007\nrun: x\ntags: [1.10, true]\nimage: 3")
    assert (spec.message, spec.name, spec.tags) == ("2", "007", ("1.10", "true"))


def test_our_own_keys() -> None:
    spec = spec_of(
        "model: m\n"
        "readiness: {path: /v1/models, timeout: 5m}\n"
        "drain_timeout: 1h\ngrace_period: 30\n"
        "autoscaling: {min: 0, max: 4, metric: queue_time, target: 500ms,\n"
        "  scale_up_window: 10s, scale_down_window: 5m, idle_timeout: 15m}\n"
    )
    assert (spec.readiness.path, spec.readiness.timeout_s) == ("/v1/models", 300)
    assert (spec.drain_timeout_s, spec.grace_period_s) == (3600, 30)
    autoscaling = spec.autoscaling
    assert autoscaling.target == 0.5
    assert autoscaling.scale_up_window_s == 10
    assert autoscaling.scale_down_window_s == 300
    assert autoscaling.idle_timeout_s == 900


def test_keys_left_empty_are_as_if_absent() -> None:
    assert spec_of("run: x\nenv:\ntags:\nports:\nautoscaling:\nmessage:") == spec_of("run: x")


FULL = """\
message: everything
name: full
description: all of it
tags: [a, b]
image: {url: i, credential_name: c}
resources: {cluster: k, cpu: 2, memory: 1Gi}
model: org/model
args: [--max-model-len, 2048, "two words"]
engine: vllm
import:
  /code/: {git: {url: github.com/o/r, ref: main}}
  /data: ./data
env: {A: 1, T: {secret: t}}
service:
  expose: 3000
  autoscaling: {min: 1, max: 2, metric: ttft, target: 2s}
  monitoring: [{port: 3000}]
  serverless: {enabled: false}
ports: [{port: 3000, name: api}]
readiness: {timeout: 60}
service_account_name: me
launch_immediately: true
"""


def test_the_store_reads_back_what_it_keeps() -> None:
    spec = spec_of(FULL)
    kept = json.dumps(spec.model_dump(mode="json"))
    assert RevisionSpec.model_validate(json.loads(kept)) == spec
    minimal = spec_of("run: x")
    assert RevisionSpec.model_validate(minimal.model_dump(mode="json")) == minimal


def test_a_spec_does_not_change_and_shows_no_values_of_variables() -> None:
    spec = spec_of("run: x\nenv: {TOKEN: hunter2}")
    with pytest.raises(ValueError, match="frozen"):
        spec.message = "other"  # type: ignore[misc]
    assert "hunter2" not in repr(spec)


def test_notes_say_what_has_no_effect() -> None:
    notes = parse_revision(FULL, "r.yaml").notes
    told = {note.split(" has no effect")[0] for note in notes}
    assert told == {
        "image.credential_name",
        "resources.cluster",
        "serverless",
        "service_account_name",
        "launch_immediately",
    }
    assert parse_revision("run: x", "r.yaml").notes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("message: x", "r.yaml:1: nothing to start: set `run`, or `model` for the shorthand"),
        ("run: x\nautoscalin: 1", "r.yaml:2: autoscalin: unknown key; did you mean `autoscaling`?"),
        ("run: x\nzzz: 1", "r.yaml:2: zzz: unknown key"),
        ("run: x\nservice: {foo: 1}", "r.yaml:2: service.foo: unknown key"),
        (
            "run: x\nservice:\n  exposes: 1",
            "r.yaml:3: service.exposes: unknown key; did you mean `expose`?",
        ),
        ("run: x\nservice: 3", "r.yaml:2: service: must be keys with values"),
        (
            "run: x\nautoscaling: {min: 1}\nservice:\n  autoscaling: {min: 2}",
            "r.yaml:4: service.autoscaling: says the same as autoscaling; keep one",
        ),
        (
            "run: x\nservice:\n  autoscaling:\n    max: 2\n    min: 4",
            "r.yaml:5: service.autoscaling.min: is 4, more than max (2)",
        ),
        ("run: x\nautoscaling: {max: 0}", "r.yaml:2: autoscaling.max: must be at least 1"),
        ("run: x\nautoscaling: {min: -1}", "r.yaml:2: autoscaling.min: must be at least 0"),
        ("run: x\nautoscaling: {min: true}", "r.yaml:2: autoscaling.min: must be a whole number"),
        ("run: x\nautoscaling: {min: 1.5}", "r.yaml:2: autoscaling.min: must be a whole number"),
        (
            "run: x\nautoscaling: {metric: latency, target: 1}",
            "r.yaml:2: autoscaling.metric: must be one of cpu, memory, gpu, concurrency, rps, "
            "queue_time, kv_cache, ttft",
        ),
        (
            "run: x\nautoscaling: {metric: gpu}",
            "r.yaml:2: autoscaling.target: is missing: set the gpu per replica",
        ),
        (
            "run: x\nautoscaling: {metric: gpu, target: 101}",
            "r.yaml:2: autoscaling.target: is a percentage of gpu: 1 to 100, not 101",
        ),
        (
            "run: x\nautoscaling: {metric: rps, target: 0}",
            "r.yaml:2: autoscaling.target: must be more than 0",
        ),
        ("run: x\nports: [0]", "r.yaml:2: ports[0].port: must be at least 1"),
        ("run: x\nports: [70000]", "r.yaml:2: ports[0].port: must be at most 65535"),
        ("run: x\nports:\n- 80\n- 80", "r.yaml:4: ports[1].port: 80 is declared twice; keep one"),
        ("run: x\nports: []", "r.yaml:2: ports: must name at least one port"),
        ("run: x\nports: 80", "r.yaml:2: ports: must be a list"),
        ("run: x\nports: [{port: 1, type: udp}]", "r.yaml:2: ports[0].type: must be one of http"),
        (
            "run: x\nports: [{port: 1, name: '80'}]",
            "r.yaml:2: ports[0].name: must be letters",
        ),
        (
            "run: x\nports:\n- {port: 1, name: a-b}\n- {port: 2, name: a_b}",
            "r.yaml:4: ports[1].name: conflicts with a-b: both are $PORT_A_B",
        ),
        ("run: x\nports: [1]\nexpose: 2", "r.yaml:3: expose: 2 is not among the ports (1)"),
        (
            "run: x\nports: [1]\nservice:\n  monitoring:\n  - port: 2",
            "r.yaml:5: service.monitoring[0].port: 2 is not among the ports (1)",
        ),
        (
            "run: x\nports: [1]\nreadiness: {port: 2}",
            "r.yaml:3: readiness.port: 2 is not among the ports (1)",
        ),
        ("run: x\nreadiness: {timeout: 0}", "r.yaml:2: readiness.timeout: must be more than 0"),
        ("run: x\nreadiness: {timeout: soon}", "r.yaml:2: readiness.timeout: must be a duration"),
        ("run: x\nreadiness: {path: health}", "r.yaml:2: readiness.path: must be a path"),
        ("run: x\nservice: {healthcheck: {type: exec}}", "r.yaml:2: service.healthcheck.type: "),
        ("run: ''", "r.yaml:1: run[0].command: must not be empty"),
        ("run:\n- workdir: /x", "r.yaml:2: run[0].command: is missing"),
        (
            "run:\n- command: x\n  workdri: y",
            "r.yaml:3: run[0].workdri: unknown key; did you mean `workdir`?",
        ),
        ("run: x\nmodel: y", "r.yaml:2: model: excludes `run`; keep one"),
        ("model: y\nengine: command", "r.yaml:2: engine: takes its command from `run`"),
        ("run: x\nengine: vllm", "r.yaml:2: engine: vllm needs a `model`"),
        ("run: x\nargs: y", "r.yaml:2: args: go with `model`"),
        ("model: y\nargs: [[a]]", "r.yaml:2: args: must be text, or a list of words"),
        ("run: x\nimage: {image}", "r.yaml:2: image: `{image}` is a placeholder"),
        ("run: x\nenv:\n  A:", 'r.yaml:3: env.A: has no value; write "" for an empty one'),
        ("run: x\nenv:\n  A: [1]", "r.yaml:3: env.A: must be a value, or {secret: NAME}"),
        ("run: x\nenv:\n  A: {secrets: b}", "r.yaml:3: env.A.secrets: unknown key; did you mean"),
        ("run: x\nenv:\n  a b: 1", 'r.yaml:3: env["a b"]: `a b` is not a variable name'),
        ("run: x\nenv: [{value: 1}]", "r.yaml:2: env: must be names with values, or a list"),
        ("run: x\nresources: {memory: lots}", "r.yaml:2: resources.memory: must be a size"),
        ("run: x\nresources: {cpu: -1}", "r.yaml:2: resources.cpu: must be more than 0"),
        ("run: x\nresources: {gpu: 1, gpu_limit: 1}", "r.yaml:2: resources.gpu_limit: says the"),
        ("run: x\nresources: {gpu: 1.5}", "r.yaml:2: resources.gpu: must be a whole number of"),
        ("run: x\nresources: {gpu: 0.0001}", "r.yaml:2: resources.gpu: must be a whole number"),
        ("run: x\nresources: {gpu: true}", "r.yaml:2: resources.gpu: must be a whole number"),
        ("run: x\nresources: {gpu: all}", "r.yaml:2: resources.gpu: must be a whole number"),
        ("run: x\nresources: {gpu: .inf}", "r.yaml:2: resources.gpu: must be a whole number"),
        ("run: x\nresources: {gpu: -1}", "r.yaml:2: resources.gpu: must be at least 0"),
    ],
)
def test_mistakes_are_told_with_line_and_reason(text: str, expected: str) -> None:
    told = problems_of(text)
    assert len(told) == 1, told
    assert told[0].startswith(expected), told[0]


def test_all_mistakes_are_told_at_once_in_order() -> None:
    told = problems_of("run: x\nzzz: 1\nautoscaling:\n  min: x\nports:\n- 0\nengine: other")
    assert [problem.split(":")[1] for problem in told] == ["2", "4", "6", "7"]


def test_no_message_repeats_the_value_of_a_variable() -> None:
    told = problems_of("run: x\nenv:\n  TOKEN: {value: hunter2, other: hunter3}\n")
    assert "hunter" not in "".join(told)


def test_later_checks_name_file_and_line_too() -> None:
    document = parse_revision("run: x\nenv:\n  T: {secret: mine}\n", "deploy/r.yaml")
    with pytest.raises(ManifestError, match=r"deploy/r.yaml:3: env.T.secret: there is no secret"):
        document.refuse(("env", "T", "secret"), "there is no secret named mine")
