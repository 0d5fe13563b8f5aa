"""A worker with ``TASKQ_SIGNING``: what is not signed, or was altered, is dropped; the attacks are in ``security``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq.models import Message
from tests.support.jobs import tasks
from tests.support.processes import Process

from .conftest import StartWorker

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def worker(alias: str, start_worker: StartWorker) -> Process:
    return start_worker(SIGNING=True)


def test_only_signed_and_unaltered_messages_run(worker: Process, alias: str, notes: Path, settings: Any) -> None:
    unsigned = tasks.note.delay(str(notes), 1)
    worker.wait_for_log(f"'{unsigned.id}' is dropped.*not signed")
    settings.TASKQ_SIGNING = True
    assert tasks.note.delay(str(notes), 2).get(timeout=60) == 2
    # Signed again for each try.
    assert tasks.fail_twice.delay(str(notes)).get(timeout=60) == 2
    moved = tasks.note.apply_async((str(notes), 3), queue="later")
    Message.objects.using(alias).filter(task_id=moved.id).update(queue="taskq")
    worker.wait_for_log(f"'{moved.id}' is dropped.*altered")
    assert tasks.note.delay(str(notes), 5).get(timeout=60) == 5
    assert (unsigned.state, moved.state) == ("PENDING", "PENDING")
    assert [line.split()[0] for line in notes.read_text().splitlines()] == ["2", "0", "1", "2", "5"]
