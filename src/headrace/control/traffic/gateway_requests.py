"""The requests that the gateway has records of, for the API."""

from headrace.control.errors import GatewayUnavailableError, NotFoundError
from headrace.control.traffic.gateway_link import GatewayLink
from headrace.core.gateway.request_records import RequestQuery, RequestRecord


async def list_requests(gateway_admin_url: str, query: RequestQuery) -> list[RequestRecord]:
    """The newest ones that match, oldest first. Raises GatewayUnavailableError."""
    link = GatewayLink(gateway_admin_url)
    try:
        records = await link.requests(query)
    finally:
        await link.close()
    if records is None:
        raise GatewayUnavailableError(
            "The gateway does not respond. It has the records of requests. Check `headrace "
            "status`, and try again."
        )
    return records


async def read_request(gateway_admin_url: str, record_id: str) -> RequestRecord:
    """Raises NotFoundError and GatewayUnavailableError."""
    records = await list_requests(gateway_admin_url, RequestQuery(record_id=record_id, limit=1))
    if not records:
        raise NotFoundError(
            f"Request '{record_id}' not found. The gateway has records of its last requests only. "
            "List them: headrace service requests NAME"
        )
    return records[0]
