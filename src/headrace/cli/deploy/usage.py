"""``headrace usage``: requests and tokens by day, service, API key and model."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.deploy.control_client import JsonOption, connected, print_json
from headrace.cli.tables import print_table

if TYPE_CHECKING:
    from headrace.control.api.responses import UsageView

_MAX_NUM_ROWS = 1000
_MAX_NUM_DAYS = 90
_NONE = "(none)"


class GroupChoice(StrEnum):
    DAY = "day"
    SERVICE = "service"
    KEY = "key"
    MODEL = "model"


def usage(
    by: Annotated[
        list[GroupChoice],
        typer.Option(help="What to group by; repeat it for several."),
    ] = [GroupChoice.SERVICE, GroupChoice.KEY, GroupChoice.MODEL],  # noqa: B006
    since: Annotated[
        str, typer.Option(metavar="DAY", help="First day: 2026-01-31, or 7d for the last 7 days.")
    ] = "30d",
    service: Annotated[
        str | None,
        typer.Option(
            "--service", "-s", metavar="NAME", help="Only this service.", show_default=False
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this API key.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this model.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show requests, errors and tokens of services, API keys and models.

    For example: headrace usage --since 7d --by day --by key
    Days are those of UTC; 90 are stored. Tokens are those that responses report.
    """
    first = _first_day(since, datetime.now(UTC).date())
    fields = list(dict.fromkeys(by))
    with connected() as client:
        rows = client.usage(
            by=[str(field) for field in fields],
            since=first.isoformat(),
            service=service,
            key=key,
            model=model,
            limit=_MAX_NUM_ROWS,
        )
    if as_json:
        print_json(rows)
        return
    _print(rows, fields, first)


def _print(rows: "list[UsageView]", fields: list[GroupChoice], first: date) -> None:
    print(f"Usage since {first} (UTC):")
    print()
    print_table(
        (
            *(field.title() for field in fields),
            "Requests",
            "Errors",
            "Prompt tokens",
            "Completion tokens",
            "Cached tokens",
        ),
        (
            (
                *(str(getattr(row, field)) or _NONE for field in fields),
                f"{row.num_requests:,}",
                f"{row.num_errors:,}",
                f"{row.prompt_tokens:,}",
                f"{row.completion_tokens:,}",
                f"{row.cached_tokens:,}",
            )
            for row in rows
        ),
    )
    if len(rows) == _MAX_NUM_ROWS:
        print(f"Only the first {_MAX_NUM_ROWS} rows are shown. Use --service, --key or --model.")


def _first_day(text: str, today: date) -> date:
    """Raises typer.BadParameter."""
    number = text.removesuffix("d")
    if text.endswith("d") and number.isascii() and number.isdigit() and len(number) <= 3:
        if not 1 <= int(number) <= _MAX_NUM_DAYS:
            raise typer.BadParameter(f"at most {_MAX_NUM_DAYS}d.", param_hint="--since")
        return today - timedelta(days=int(number) - 1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither a day, such as 2026-01-31, nor a number of days, such as 7d.",
            param_hint="--since",
        ) from None
