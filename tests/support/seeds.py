"""Seeds: chance falls the same way every time in a test of the same name, unless ``TASKQ_TEST_SEED`` says otherwise."""

from __future__ import annotations

import os
import zlib

VARIABLE = "TASKQ_TEST_SEED"


def asked_for() -> int | None:
    """Return the seed that the environment asks for."""
    text = os.environ.get(VARIABLE)
    return int(text) if text else None


def seed_of(name: str) -> int:
    """Return the seed of a test: the one that is asked for, or else one that follows from its node id.

    Not from Python's ``hash()``, which differs from process to process.
    """
    asked = asked_for()
    return zlib.crc32(name.encode()) if asked is None else asked
