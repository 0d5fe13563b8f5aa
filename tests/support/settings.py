"""The test project's settings with the tests' own tasks, and every ``TASKQ_*`` from the environment."""

from __future__ import annotations

import json
import os

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.jobs"]
LOGGING_CONFIG = None

globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
