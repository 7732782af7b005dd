"""The name for a JSON object under construction."""

from typing import Any

JsonObject = dict[str, Any]
