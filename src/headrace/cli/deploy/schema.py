"""``headrace schema``: JSON schemas of the YAML files, for editors."""

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
        Kind, typer.Argument(metavar="KIND", help="Of which file.", show_default=False)
    ],
) -> None:
    """Print the JSON schema of a file, for editors that complete and check YAML.

    For example: headrace schema revision > revision.schema.json
    and as the first line of revision.yaml:
    # yaml-language-server: $schema=revision.schema.json
    """
    from headrace.control.manifests.schema import json_schema

    print(json.dumps(json_schema(kind.value), indent=2))
