"""Histograms are cumulative, whatever is observed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.metrics.exposition import render
from taskq.metrics.figures import ByName, Histogram
from tests.support.exposition import parse


@given(st.lists(st.floats(-1, 100)))
def test_each_bucket_has_what_lies_below_its_bound(values: list[float]) -> None:
    histograms = ByName((0.5, 1.0, 10.0))
    for value in values:
        histograms.observe("add", value)
    read = parse(render([histograms.family("seconds", "Seconds.")]).decode())["seconds"]
    if values:
        for bound in ("0.5", "1", "10"):
            assert read.value("_bucket", name="add", le=bound) == sum(value <= float(bound) for value in values)
        assert read.value("_count", name="add") == len(values)
        assert read.value("_sum", name="add") == pytest.approx(sum(max(0.0, value) for value in values))
    else:
        assert not read.values


def test_a_value_on_a_bound_is_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.0)
    assert histogram._counts == [1, 0, 0]
