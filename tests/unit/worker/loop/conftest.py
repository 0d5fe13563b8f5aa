"""A consumer with a pool that runs nothing."""

from __future__ import annotations

import pytest

from tests.support.fake_pool import Bench
from tests.unit.worker.loop.short import short_tasks


@pytest.fixture
def bench() -> Bench:
    return Bench(2, short_tasks())
