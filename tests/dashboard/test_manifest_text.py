import yaml

from headrace.dashboard.manifest_text import spec_yaml, to_yaml


def test_a_spec_is_shown_without_keys_that_are_not_set() -> None:
    spec = {
        "message": "",
        "model": "smollm2-135m",
        "tags": [],
        "env": {},
        "image": None,
        "ports": [{"port": 8000, "name": None}],
        "inherit_env": False,
        "autoscaling": {"min": 0, "idle_timeout": None},
    }
    assert yaml.safe_load(spec_yaml(spec)) == {
        "model": "smollm2-135m",
        "ports": [{"port": 8000}],
        "inherit_env": False,
        "autoscaling": {"min": 0},
    }
    assert spec_yaml(spec).startswith("model: ")


def test_text_of_many_lines_is_a_block() -> None:
    assert to_yaml({"run": "cd /code\npython train.py\n", "name": "x"}) == (
        "run: |\n  cd /code\n  python train.py\nname: x\n"
    )
