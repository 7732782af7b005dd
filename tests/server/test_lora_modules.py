"""--lora-modules."""

import pytest

from headrace.core.errors import InvalidParameterError
from headrace.server.adapters import LoraModule, read_lora_module
from headrace.server.config import ServerConfig


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("sql=/adapters/sql", LoraModule("sql", "/adapters/sql")),
        ("sql=a=b", LoraModule("sql", "a=b")),
        ('{"name": "sql", "path": "p"}', LoraModule("sql", "p")),
        (
            ' {"name": "a/b", "path": "p", "base_model_name": "base"}',
            LoraModule("a/b", "p", "base"),
        ),
    ],
)
def test_both_forms_are_read(text: str, module: LoraModule) -> None:
    assert read_lora_module("lora_modules", text) == module


@pytest.mark.parametrize(
    "modules",
    [
        ("sql",),
        ("sql=",),
        ("=path",),
        (" sql=path",),
        ("x" * 257 + "=path",),
        ('{"name": "sql"}',),
        ('{"name": "sql", "path": 1}',),
        ('{"name": "sql", "path": "p", "rank": "8"}',),
        ('{"name": "sql", "path": "p"',),
        ("sql=a", "sql=b"),
    ],
)
def test_others_are_refused(modules: tuple[str, ...]) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        ServerConfig(lora_modules=modules)
    assert caught.value.param == "lora_modules"
