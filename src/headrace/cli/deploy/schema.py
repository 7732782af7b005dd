"""``headrace schema``: JSON schemas of manifests, for editors."""

import json
from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    REVISION = "revision"
    GATEWAY = "gateway"
    RUN = "run"


def schema(
    kind: Annotated[
        Kind,
        typer.Argument(
            metavar="KIND", help="Manifest kind: revision, gateway or run.", show_default=False
        ),
    ],
) -> None:
    """Print the JSON schema of a manifest, for completion and validation in editors.

    For example: headrace schema revision > revision.schema.json
    and as the first line of revision.yaml:
    # yaml-language-server: $schema=revision.schema.json
    """
    from headrace.control.manifests.schema import json_schema

    print(json.dumps(json_schema(kind.value), indent=2))
