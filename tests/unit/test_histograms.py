"""Histograms of times, and the percentiles that are read from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.histograms import BOUNDS, BUCKETS, bucket, percentile

times = st.lists(st.floats(0, 900), min_size=1, max_size=50)


def counts(seconds: list[float]) -> list[int]:
    counted = [0] * BUCKETS
    for each in seconds:
        counted[bucket(each)] += 1
    return counted


@given(times, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentile_is_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    found = percentile(counts(seconds), share)
    assert found is not None
    true = sorted(seconds)[max(0, -(-int(share * 1000) * len(seconds) // 1000) - 1)]
    low = BOUNDS[bucket(true) - 1] if bucket(true) else 0.0
    assert low <= found.seconds <= BOUNDS[bucket(true)] * 1.0001


@given(times, times)
def test_sum_of_two_histograms_is_the_histogram_of_both(some: list[float], others: list[float]) -> None:
    assert [a + b for a, b in zip(counts(some), counts(others), strict=True)] == counts(some + others)


def test_ends_of_the_scale() -> None:
    assert percentile([0] * BUCKETS, 0.5) is None
    assert percentile(counts([5000.0]), 0.5) == (BOUNDS[-1], ">")
    assert percentile(counts([0.0]), 1.0) == percentile(counts([0.00005]), 0.5) == (BOUNDS[0], "<")
    end = percentile(counts([1000.0]), 1.0)
    assert end is not None
    assert (end.seconds, end.sign) == (pytest.approx(BOUNDS[-1]), "")
    assert [bucket(bound) for bound in BOUNDS] == list(range(len(BOUNDS)))
