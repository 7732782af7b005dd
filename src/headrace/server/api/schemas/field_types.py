"""Types of request fields, with the bounds that pydantic checks."""

from typing import Annotated

from pydantic import Field

MAX_PROMPT_TOKENS = 500_000
"""The limit of the schema (json_body.MAX_JSON_VALUES); the context length is checked later."""

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""For integers whose range is checked later: they must fit into a message to the engine."""
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(max_length=MAX_PROMPT_TOKENS)]

CacheSalt = Annotated[
    str | None,
    Field(
        max_length=1024,
        description="Share the prefix cache only with requests that have the same salt.",
    ),
]
Priority = Annotated[
    Int32 | None,
    Field(
        description="Lower values are scheduled earlier; other than 0 it requires "
        "--scheduling-policy priority."
    ),
]
