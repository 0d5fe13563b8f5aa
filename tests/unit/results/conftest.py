"""Tests of results leave no thread that waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until

from .listening import listener_threads


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    wait_until(lambda: not listener_threads(), what="no thread listens")
