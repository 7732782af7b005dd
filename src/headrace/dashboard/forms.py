"""Submitted forms."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

_MAX_NUM_FIELDS = 1000
_CONTENT_TYPE = "application/x-www-form-urlencoded"


class Form:
    """Fields of a form. Line ends are ``\\n``."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """The field's value; empty if it is missing."""
        return self._fields.get(name, "")

    def word(self, name: str) -> str:
        """The field's value without surrounding white space."""
        return self.text(name).strip()

    def names(self) -> list[str]:
        """In the order of the form."""
        return list(self._fields)


async def read_form(request: Request) -> Form:
    """The request's form; empty if its body is something else. Of repeated fields the last."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CONTENT_TYPE:
        return Form({})
    try:
        pairs = parse_qsl(
            (await request.body()).decode(),
            keep_blank_values=True,
            max_num_fields=_MAX_NUM_FIELDS,
            errors="strict",
        )
    except ValueError:  # not UTF-8, or too many fields
        raise HTTPException(400, "The form is invalid.") from None
    return Form({name: value.replace("\r\n", "\n") for name, value in pairs})


FormDep = Annotated[Form, Depends(read_form)]
