"""Times as Django stores them on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from taskq.engines import sqlite

#: Unix times of the years from 1 to 9999.
_times = st.floats(min_value=0, max_value=253402300799) | st.floats(min_value=-62135596800, max_value=0)


@given(_times)
@example(1_800_000_000.9999999)
@example(-0.0000001)
@example(0.5)
def test_text_of_a_time_is_that_of_its_datetime(unix: float) -> None:
    text = sqlite._time_text(unix)
    assert text is not None
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert abs((at - datetime.fromtimestamp(unix, UTC)).total_seconds()) <= 0.000001
    assert text == at.replace(tzinfo=None).isoformat(" ", "microseconds")


def test_no_time_has_no_text() -> None:
    assert sqlite._time_text(None) is None
