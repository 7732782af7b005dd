"""JSON schemas of the manifests, for editors."""

from typing import Any

from fastapi import APIRouter

from headrace.control.manifests.schema import ManifestKind, json_schema

router = APIRouter(tags=["schemas"])


@router.get("/schemas/{kind}")
def read_schema(kind: ManifestKind) -> dict[str, Any]:
    """The schema of ``revision``, ``gateway`` or ``run``."""
    return json_schema(kind)
