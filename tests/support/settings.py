"""The test project's settings with the tests' own tasks, and every ``TASKQ_*`` from the environment."""

from __future__ import annotations

import json
import os

from kombu.common import Broadcast

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

#: Which of the tests' apps a process has; a worker of threads can't have tasks with a time limit.
TEST_APPS = os.environ.get(
    "TEST_APPS",
    "tests.support.jobs,tests.support.limited,tests.support.deaths,tests.support.listening,tests.support.hanging",
)
INSTALLED_APPS = [*INSTALLED_APPS, *TEST_APPS.split(",")]
LOGGING_CONFIG = None
#: Tests of unknown tasks wait for their failure.
TASKQ_UNKNOWN_TASK_GRACE = 0.0

if names := os.environ.get("TEST_BROADCASTS"):
    TASKQ_QUEUES = [Broadcast(name) for name in names.split(",")]

globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
