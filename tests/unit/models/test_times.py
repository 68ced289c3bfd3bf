from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidTimeError
from models.times import EARLIEST_MS, LATEST_MS, Moment, format_time, formatted, parse_time_ms


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:00:00Z", Moment(0, 0)),
        ("1970-01-01T00:00:00.0019Z", Moment(1, 0)),
        ("1969-12-31T23:59:59.9999Z", Moment(-1, 0)),
        ("1970-01-01t05:30:00z".replace("z", "+05:30"), Moment(0, 330)),
        ("1969-12-31T20:30:00.5-03:30", Moment(500, -210)),
        ("1969-12-31 20:30:00.500001-03:30", Moment(500, -210)),
        ("2026-02-28 12:00:00Z", Moment(1772280000000, 0)),
        ("2026-02-28T12:00:00.123456789z", Moment(1772280000123, 0)),
        ("2026-02-28T12:00:00-00:00", Moment(1772280000000, 0)),
        (1772280000123, Moment(1772280000123, 0)),
    ],
)
def test_texts_and_integers_are_parsed_and_truncated_to_milliseconds(value: Any, expected: Any) -> None:
    assert parse_time_ms(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00",
        "2026-01-01  00:00:00Z",
        "2026-01-01\t00:00:00Z",
        "2026-01-01_00:00:00Z",
        "2026-01-01 00:00:00+00",
        "2026-01-01",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00Z\n",
        "\uff12026-01-01T00:00:00Z",
        "20260101T000000Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-00:01",
        "",
        True,
        None,
        1.5,
        LATEST_MS + 1,
        EARLIEST_MS - 1,
    ],
)
def test_an_invalid_time_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTimeError):
        parse_time_ms(value)


@given(st.integers(EARLIEST_MS, LATEST_MS))
def test_a_formatted_time_is_parsed_back(epoch_ms: Any) -> None:
    text = format_time(epoch_ms)
    assert len(text) == len("2026-01-01T00:00:00.000Z")
    assert parse_time_ms(text) == Moment(epoch_ms, 0)


@given(st.integers(EARLIEST_MS, LATEST_MS))
def test_a_time_is_formatted_as_its_datetime_is(epoch_ms: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    assert format_time(epoch_ms) == moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@pytest.mark.parametrize("epoch_ms", [EARLIEST_MS - 1, LATEST_MS + 1])
def test_a_time_outside_the_calendar_is_not_formatted(epoch_ms: int) -> None:
    with pytest.raises(InvalidTimeError, match="is outside the years 1 to 9999"):
        format_time(epoch_ms)


@given(
    st.datetimes(),
    st.sampled_from("Tt "),
    st.sampled_from(["", ".1", ".12", ".123", ".1239", ".999999999"]),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:45", "-11:30"]),
)
def test_the_text_of_a_time_is_taken_over_only_in_the_form_of_the_records(
    moment: datetime, between: str, fraction: str, zone: str
) -> None:
    text = moment.isoformat(between, timespec="seconds") + fraction + zone
    try:
        epoch_ms = parse_time_ms(text).epoch_ms
    except InvalidTimeError:  # its zone puts it outside the calendar
        return
    assert formatted(text, epoch_ms) == formatted(epoch_ms, epoch_ms) == format_time(epoch_ms)


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_in_any_zone_is_truncated_and_not_rounded(moment: Any) -> None:
    offset = moment.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        return  # RFC 3339 has no seconds in a zone
    try:
        parsed = parse_time_ms(moment.isoformat())
    except InvalidTimeError as error:
        assert "outside the years" in str(error)  # noqa: PT017 - only at the calendar's two ends
        return
    assert parsed.utc_offset_minutes == offset.total_seconds() / 60
    assert parsed.epoch_ms % 1000 == moment.microsecond // 1000


@pytest.mark.parametrize(
    "value", [["x"], {}, None, True, 1.5, "x" * 1_000_000, "2026-01-31T12:00:00." + "1" * 10**6, 10**4_000]
)
def test_the_refusal_of_any_value_is_short(value: Any) -> None:
    with pytest.raises(InvalidTimeError) as refused:
        parse_time_ms(value)
    assert len(str(refused.value)) < 200
