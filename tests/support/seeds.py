"""The seed of a test that leaves something to chance: printed, and the same again with ``TASKQ_TEST_SEED``."""

from __future__ import annotations

import os
import random


def seeded() -> random.Random:
    """Return the dice of a test, and print what it takes to have them fall the same way once more."""
    seed = int(os.environ.get("TASKQ_TEST_SEED") or random.randrange(10**6))
    print(f"TASKQ_TEST_SEED={seed}")
    return random.Random(seed)
