"""How long the tests run: whole with ``TASKQ_TEST_FULL=1``, and else as long as shows what they show."""

from __future__ import annotations

import os

import pytest

from .databases import VENDORS

FULL = os.environ.get("TASKQ_TEST_FULL") == "1"


def mainly_on(*vendors: str) -> pytest.MarkDecorator:
    """Run a test on these vendors alone, and on each vendor if the run is full.

    For tests with real processes of what is the same above ``store``. What differs by vendor is in ``conformance``.
    """
    return pytest.mark.parametrize("database", VENDORS if FULL else vendors, indirect=True)
