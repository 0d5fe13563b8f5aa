"""Tasks with a hard time limit."""

from __future__ import annotations

import time

from taskq import task
from tests.support.jobs.notes import note_line


@task(time_limit=1.0)
def too_long(path: str) -> None:
    """Run until the hard limit."""
    note_line(path, "too long")
    time.sleep(60)
