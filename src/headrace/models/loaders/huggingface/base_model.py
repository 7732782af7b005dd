"""config.json of a family's net without its output layer: embedding models and classifiers."""

from collections.abc import Mapping
from typing import Any

from headrace.models.loaders.huggingface.families import HF_ARCHITECTURES

_WITHOUT_OUTPUT = (
    *("TextForSequenceClassification", "ForSequenceClassification"),
    *("TextModel", "Model"),
)
_WITH_OUTPUT = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel")


def as_causal_lm(values: Mapping[str, Any]) -> dict[str, Any]:
    """config.json under the architecture's name as a causal LM, by which the families are known."""
    names = values.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        for suffix in _WITHOUT_OUTPUT:
            if not names[0].endswith(suffix):
                continue
            for end in _WITH_OUTPUT:
                name = names[0].removesuffix(suffix) + end
                row = HF_ARCHITECTURES.get(name)
                if row is not None and (row.nested_under is None or row.nested_under in values):
                    return {**values, "architectures": [name]}
    return dict(values)
