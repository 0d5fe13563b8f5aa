"""How many examples hypothesis makes: few by default, many with ``TASKQ_TEST_FULL=1``.

A failure prints how to run it again; ``--hypothesis-seed`` repeats a whole run.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("taskq", max_examples=100, stateful_step_count=30, **_COMMON)
settings.register_profile("taskq-full", max_examples=2000, stateful_step_count=60, **_COMMON)
settings.load_profile("taskq-full" if os.environ.get("TASKQ_TEST_FULL") == "1" else "taskq")
