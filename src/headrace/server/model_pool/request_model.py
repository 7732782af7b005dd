"""The model that an HTTP request uses, until the request has ended."""

from functools import partial

from starlette.requests import Request

from headrace.server.config import ServerConfig
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.request_tracker import record_of
from headrace.server.model_pool.served_models import ServedModels
from headrace.server.served_model import ServedModel


async def serve_model(request: Request, name: str | None) -> ServedModel:
    """The model of this name, by default the first. It is loaded if it is not, and is not unloaded
    before the request has ended.

    The body must have been read. Raises ApiError (404) for an unknown name, ModelLoadError,
    QueueFullError, EngineDrainingError or ClientGoneError.
    """
    pool = pool_of(request)
    slot = pool.find(name)
    at_end = record_of(request.scope).at_end
    served = pool.lease_loaded(slot)
    if served is not None:
        at_end.append(partial(pool.release, slot))
        return served
    async with stop_on_disconnect(request.receive):
        served = await pool.lease(slot)
        at_end.append(partial(pool.release, slot))
    return served


def pool_of(request: Request) -> ServedModels:
    """The models of the server."""
    pool: ServedModels = request.app.state.pool
    return pool


def config_of(request: Request) -> ServerConfig:
    """The server's options; those of one model are in ServedModel.config."""
    config: ServerConfig = request.app.state.config
    return config
