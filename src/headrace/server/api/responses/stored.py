"""Stored responses: GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.server.api.responses.request import LOGPROBS
from headrace.server.http.auth import key_digest
from headrace.server.http.errors import unknown_response
from headrace.server.http.json_body import JsonObject, json_response
from headrace.server.response_store import StoredResponse, stored_responses

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


async def get_response(request: Request) -> Response:
    """The response as it was sent. Raises ApiError (404) or InvalidParameterError."""
    query = request.query_params
    if query.get("stream", "false").lower() not in ("false", "0"):
        raise InvalidParameterError("stream", "is not supported; remove it")
    if "starting_after" in query:
        raise InvalidParameterError("starting_after", "is not supported; remove it")
    _check_include(request)
    return Response(_stored(request).response, media_type="application/json")


async def delete_response(request: Request) -> Response:
    """Raises ApiError (404)."""
    response_id = request.path_params["response_id"]
    if not stored_responses(request).delete(key_digest(request.scope), response_id):
        raise unknown_response(response_id)
    return json_response({"id": response_id, "object": "response", "deleted": True})


async def list_input_items(request: Request) -> Response:
    """One page of the items that the response continued. Raises ApiError (404) or
    InvalidParameterError."""
    limit = _limit(request.query_params.get("limit"))
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidParameterError("order", "must be asc or desc")
    _check_include(request)
    items = _stored(request).input_items()
    if order == "desc":
        items.reverse()
    after = request.query_params.get("after")
    begin = 0 if after is None else _position_after(after, items)
    page = items[begin : begin + limit]
    return json_response(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": begin + limit < len(items),
        }
    )


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_LIMIT
    if not given.isascii() or not given.isdigit() or len(given) > 3:
        raise InvalidParameterError("limit", f"must be an integer from 1 to {MAX_LIMIT}")
    limit = int(given)
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidParameterError("limit", f"must be an integer from 1 to {MAX_LIMIT}")
    return limit


def _position_after(item_id: str, items: list[JsonObject]) -> int:
    for position, item in enumerate(items):
        if item["id"] == item_id:
            return position + 1
    raise InvalidParameterError("after", "is not the id of one of the items")


def _check_include(request: Request) -> None:
    query = request.query_params
    for name in ("include", "include[]"):
        if any(value != LOGPROBS for value in query.getlist(name)):
            raise InvalidParameterError("include", f"only {LOGPROBS} is supported")


def _stored(request: Request) -> StoredResponse:
    response_id = request.path_params["response_id"]
    entry = stored_responses(request).get(key_digest(request.scope), response_id)
    if entry is None:
        raise unknown_response(response_id)
    return entry
