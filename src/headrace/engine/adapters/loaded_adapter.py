"""An adapter as a front end of the engine knows it."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class LoadedAdapter:
    """An adapter that the core has loaded. Only the AdapterClient changes it."""

    adapter_id: int
    path: str
    num_requests: int = 0
    """Unfinished requests that have it."""
    is_unloaded: bool = False
    """New requests are refused; it is freed after the last request."""
