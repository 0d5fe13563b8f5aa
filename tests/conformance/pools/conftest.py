"""``kind`` is each pool in turn; ``drive`` drives it as the worker does, without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from tests.unit.worker.pools.driver import Driver, driving

from .kinds import DRIVEN, Kind

Drive = Callable[..., AbstractContextManager[Driver]]


@pytest.fixture(params=DRIVEN, ids=str)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """The pool that is tested."""
    kind: Kind = request.param
    with kind.configured():
        yield kind


@pytest.fixture
def drive(kind: Kind) -> Drive:
    """Return ``driving`` for the pool; the driver's tasks do as their bodies say."""
    return partial(driving, kind.name)
