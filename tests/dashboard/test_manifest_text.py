from headrace.dashboard.manifest_text import spec_yaml, to_yaml


def test_text_of_many_lines_is_a_block() -> None:
    assert to_yaml({"run": "cd /code\npython train.py\n", "name": "x"}) == (
        "run: |\n  cd /code\n  python train.py\nname: x\n"
    )


def test_keys_that_are_not_set_are_left_out() -> None:
    spec = {"run": [{"command": "echo", "workdir": None}], "tags": [], "ports": [{"port": 1}]}
    assert spec_yaml(spec) == "run:\n- command: echo\nports:\n- port: 1\n"
