"""Variables: their secrets, and what people may see of them."""

import pytest

from headrace.control.errors import SecretNotFoundError
from headrace.control.manifests.fields.env import HIDDEN, environment_of, masked_env, secret_names
from headrace.control.manifests.revision import parse_revision

ENV = parse_revision(
    "run: x\nenv: {MODEL: m, HF_TOKEN: hf_1, KEY: {value: k, hidden: true}, S: {secret: mine}, "
    "API_KEY: ''}",
    "r.yaml",
).spec.env


def test_secrets_are_looked_up_by_name() -> None:
    assert secret_names(ENV) == ("mine",)
    assert environment_of(ENV, {"mine": "v", "other": "w"}) == {
        "MODEL": "m",
        "HF_TOKEN": "hf_1",
        "KEY": "k",
        "S": "v",
        "API_KEY": "",
    }


def test_a_secret_that_is_not_there_is_named() -> None:
    with pytest.raises(SecretNotFoundError, match="mine"):
        environment_of(ENV, {"other": "w"})


def test_people_see_no_secret() -> None:
    assert masked_env(ENV) == {
        "MODEL": "m",
        "HF_TOKEN": HIDDEN,
        "KEY": HIDDEN,
        "S": "(secret mine)",
        "API_KEY": "",
    }
    assert "hf_1" not in repr(ENV)
