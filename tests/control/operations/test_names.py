"""Names that can be hosts, and kind refusals of those that cannot."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.errors import InvalidNameError
from headrace.control.operations.names import RESERVED, check_plain_name, check_service_name


@pytest.mark.parametrize("name", ["a", "openllm", "llama-3", "3b", "a" * 63, "x--y"])
def test_dns_labels_name_services(name: str) -> None:
    check_service_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "not a valid service name"),
        ("a" * 64, "at most 63 characters"),
        ("-a", "Try 'a'"),
        ("a-", "Try 'a'"),
        ("My Service", "Try 'my-service'"),
        ("open_llm", "Try 'open-llm'"),
        ("a.b", "Try 'a-b'"),
        ("a\n", "Try 'a'"),
        ("é", "letters, digits and '-', beginning"),
        ("127", "looks like an address"),
        ("localhost", "reserved name"),
        ("v1", "reserved name"),
    ],
)
def test_other_names_are_refused_with_a_way_out(name: str, message: str) -> None:
    with pytest.raises(InvalidNameError, match=message):
        check_service_name(name)


@given(st.text(max_size=70))
def test_what_is_suggested_can_be_used(name: str) -> None:
    try:
        check_service_name(name)
    except InvalidNameError as error:
        suggested = re.search(r"Try '([^']*)'", str(error))
        if suggested and name not in RESERVED:
            check_service_name(suggested[1])
    else:
        assert re.fullmatch(r"[a-z0-9-]{1,63}", name)


@pytest.mark.parametrize("name", ["HF_TOKEN", "ci", "a.b-c_d", "_x", "9"])
def test_plain_names(name: str) -> None:
    check_plain_name(name, "a secret")


@pytest.mark.parametrize("name", ["", "a b", "-x", ".x", "a/b", "a\n", "x" * 64, "é"])
def test_names_that_are_not_plain(name: str) -> None:
    with pytest.raises(InvalidNameError, match="a secret"):
        check_plain_name(name, "a secret")
