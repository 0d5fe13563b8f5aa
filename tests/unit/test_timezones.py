from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import pytest
import pytz
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from taskq import timezones
from taskq.timezones import AmbiguousTime, NonexistentTime, parse_iso, to_utc

BERLIN = "Europe/Berlin"
#: Zones with odd offsets, odd rules, jumps of half an hour and none at all.
ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
]
moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 12, 31))
zones = st.sampled_from(ZONES)


@pytest.mark.parametrize(
    "zone", [BERLIN, pytz.timezone(BERLIN), zoneinfo.ZoneInfo(BERLIN)], ids=["name", "pytz", "zoneinfo"]
)
class TestEveryKindOfZone:
    def test_naive_times_in_winter_and_summer(self, zone: str | tzinfo) -> None:
        assert to_utc(datetime(2026, 1, 15, 12), zone) == datetime(2026, 1, 15, 11, tzinfo=UTC)
        assert to_utc(datetime(2026, 7, 15, 12), zone) == datetime(2026, 7, 15, 10, tzinfo=UTC)

    def test_naive_time_that_does_not_exist_is_an_error(self, zone: str | tzinfo) -> None:
        with pytest.raises(NonexistentTime, match=r"2026-03-29 02:30:00 does not exist in Europe/Berlin"):
            to_utc(datetime(2026, 3, 29, 2, 30), zone)

    def test_naive_time_that_comes_twice_is_an_error(self, zone: str | tzinfo) -> None:
        with pytest.raises(AmbiguousTime, match=r"2026-10-25 02:30:00 is ambiguous in Europe/Berlin"):
            to_utc(datetime(2026, 10, 25, 2, 30), zone)

    def test_zone_of_the_setting_is_used(self, zone: str | tzinfo) -> None:
        with override_settings(TASKQ_TIMEZONE=zone):
            assert to_utc(datetime(2026, 7, 15, 12)) == datetime(2026, 7, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize("error", [NonexistentTime, AmbiguousTime])
def test_time_errors_are_pytz_and_value_errors(error: type[Exception]) -> None:
    assert issubclass(error, pytz.InvalidTimeError)
    assert issubclass(error, ValueError)


def test_aware_time_keeps_its_moment() -> None:
    plus_two = timezone(timedelta(hours=2))
    assert to_utc(datetime(2026, 10, 25, 2, 30, tzinfo=plus_two)).isoformat() == "2026-10-25T00:30:00+00:00"
    localized = pytz.timezone(BERLIN).localize(datetime(2026, 10, 25, 2, 30), is_dst=False)
    assert to_utc(localized) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert to_utc(datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo(BERLIN), fold=1)) == to_utc(localized)


def test_bare_pytz_zone_does_not_mean_local_mean_time() -> None:
    """``datetime(..., tzinfo=pytz.timezone("Europe/Berlin"))`` is 53 minutes from UTC if it is taken at its word."""
    assert to_utc(datetime(2026, 7, 15, 12, tzinfo=pytz.timezone(BERLIN))) == datetime(2026, 7, 15, 10, tzinfo=UTC)


def test_time_with_a_zone_without_an_offset_counts_as_naive() -> None:
    class Vague(tzinfo):
        def utcoffset(self, dt: datetime | None) -> None:
            return None

        dst = tzname = utcoffset

    assert to_utc(datetime(2026, 7, 15, 12, tzinfo=Vague()), BERLIN) == datetime(2026, 7, 15, 10, tzinfo=UTC)
    with pytest.raises(ValueError, match="no offset"):
        to_utc(datetime(2026, 7, 15, 12), Vague())


@pytest.mark.parametrize("zone", [BERLIN, "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("value", [datetime.max, datetime.min])
def test_times_beyond_the_calendar_are_a_value_error(zone: str, value: datetime) -> None:
    try:
        assert to_utc(value, zone).tzinfo is UTC
    except ValueError as exc:
        assert "years 1 to 9999" in str(exc)  # noqa: PT017 - which of the two depends on the zone


def test_time_in_the_year_9999_is_converted() -> None:
    assert to_utc(datetime(9999, 6, 1), BERLIN).year == 9999


@pytest.mark.parametrize("value", [date(2026, 1, 1), "2026-01-01", None, 5])
def test_values_that_are_no_datetimes_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="A datetime is needed"):
        to_utc(value)  # type: ignore[arg-type]


def test_unknown_time_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="'Europe/Atlantis' is not the name of a time zone"):
        to_utc(datetime(2026, 1, 1), "Europe/Atlantis")
    with (
        override_settings(TASKQ_TIMEZONE="Europe/Atlantis"),
        pytest.raises(ImproperlyConfigured, match="TASKQ_TIMEZONE: 'Europe/Atlantis'"),
    ):
        timezones.zone()


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T08:44:03.578964+00:00",
        "2026-11-22T08:44:03.578964Z",
        "2026-11-22t08:44:03.578964z",
        "2026-11-22 08:44:03,578964Z",
        "20261122T084403.578964Z",
        "2026-11-22T14:14:03.578964+05:30",
        "2026-W47-7T08:44:03.578964Z",
    ],
)
def test_parse_iso_reads_all_forms_as_utc(text: str) -> None:
    assert parse_iso(text) == datetime(2026, 11, 22, 8, 44, 3, 578964, tzinfo=UTC)
    assert parse_iso(text).tzinfo is UTC


def test_parse_iso_takes_a_naive_time_as_one_of_the_configured_zone() -> None:
    with override_settings(TASKQ_TIMEZONE=BERLIN):
        assert parse_iso("2026-07-15T12:00:00") == datetime(2026, 7, 15, 10, tzinfo=UTC)
        assert parse_iso("2026-07-15") == datetime(2026, 7, 14, 22, tzinfo=UTC)
        with pytest.raises(NonexistentTime):
            parse_iso("2026-03-29T02:30:00")


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-13-01", "2026-01-01T25:00", None, 5, "2026-01-01T00:00:00+99:00"]
)
def test_parse_iso_refuses_what_is_no_time(text: object) -> None:
    with pytest.raises(ValueError, match="is not an ISO-8601 time"):
        parse_iso(text)  # type: ignore[arg-type]


def test_now_is_aware() -> None:
    assert timezones.now().tzinfo is UTC


@given(moments, zones)
def test_conversion_agrees_for_zone_names_and_zoneinfo(naive: datetime, name: str) -> None:
    outcomes: list[object] = []
    for zone in (name, zoneinfo.ZoneInfo(name)):
        try:
            outcomes.append(to_utc(naive, zone))
        except ValueError as exc:
            outcomes.append(type(exc))
    assert outcomes[0] == outcomes[1]


@given(moments, zones)
def test_local_time_of_a_moment_gives_it_back_or_is_ambiguous(moment: datetime, name: str) -> None:
    moment = moment.replace(tzinfo=UTC)
    local = moment.astimezone(zoneinfo.ZoneInfo(name)).replace(tzinfo=None)
    try:
        assert to_utc(local, name) == moment
    except AmbiguousTime:
        hour_off = {to_utc(moment + timedelta(minutes=m)) for m in (-120, -60, -30, 30, 60, 120)}
        assert any(other.astimezone(zoneinfo.ZoneInfo(name)).replace(tzinfo=None) == local for other in hour_off), (
            "it does not come twice"
        )


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11)), timezone(timedelta(hours=5, minutes=45))])
    )
)
def test_parse_iso_reads_what_isoformat_writes(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="years 1 to 9999"):
            parse_iso(moment.isoformat())
    else:
        assert parse_iso(moment.isoformat()) == expected


@given(st.text())
def test_parse_iso_raises_nothing_but_value_error(text: str) -> None:
    try:
        moment = parse_iso(text)
    except ValueError:
        return
    assert moment.tzinfo is UTC
