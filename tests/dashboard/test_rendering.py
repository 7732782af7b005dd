from datetime import UTC, datetime

from headrace.dashboard.rendering import (
    show_bytes,
    show_duration,
    show_moment,
    show_number,
    show_percent,
)
from headrace.dashboard.urls import is_local, url


def test_addresses_are_quoted() -> None:
    assert url() == "/dashboard/"
    assert (
        url("services", "a/b", 1, tab="x&y", other=None) == "/dashboard/services/a%2Fb/1?tab=x%26y"
    )


def test_only_addresses_of_the_dashboard_are_local() -> None:
    assert is_local("/dashboard/services?x=1")
    for path in (
        "/dashboard",
        "//dashboard/",
        "/v1/services",
        "/dashboard/\\evil",
        "/dashboard/\n",
    ):
        assert not is_local(path)


def test_numbers_are_rounded_to_significant_digits() -> None:
    assert show_number(None) == "—"
    assert show_number(0.0, "s") == "0 s"
    assert show_number(0.012345, "s") == "0.0123 s"
    assert show_number(123456.7) == "123,457"
    assert show_percent(0.4567) == "45.7 %"


def test_durations_and_sizes_have_fitting_units() -> None:
    assert [show_duration(value) for value in (None, 0.0, 3e-5, 0.0123, 4.5)] == [
        "—", "0 s", "30 µs", "12.3 ms", "4.5 s",
    ]  # fmt: skip
    assert [show_bytes(value) for value in (None, 7, 2048, 5 * 2**20, 3 * 2**30)] == [
        "—", "7 B", "2 KiB", "5 MiB", "3 GiB",
    ]  # fmt: skip


def test_moments_are_shown_in_utc() -> None:
    shown = show_moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert shown == '<time datetime="2026-01-02T03:04:05+00:00">2026-01-02 03:04:05 UTC</time>'
