"""Ids that a database can't take: whoever asks for one asks for a task that nobody knows, and blinds no other."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from taskq import AsyncResult
from taskq.exceptions import TimeoutError
from taskq.models import TaskRun
from taskq.results import listener

#: PostgreSQL takes no NUL, nobody takes half of a surrogate pair, and no column this much.
ODD = ["nul\0", "half\ud800", "long" * 100]


@pytest.mark.parametrize("task_id", ODD, ids=["nul", "surrogate", "long"])
def test_result_of_an_odd_id_is_pending_and_times_out(alias: str, task_id: str) -> None:
    result = AsyncResult[int](task_id)
    assert result.state == "PENDING"
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)


def test_waiting_for_an_odd_id_does_not_hide_other_results(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    came = threading.Event()
    for odd in ODD:
        AsyncResult[int](odd).then(pytest.fail)
    AsyncResult[int]("fine").then(lambda result: came.set())
    TaskRun.objects.using(alias).create(task_id="fine", state="SUCCESS", result="4", created_at=datetime.now(UTC))
    try:
        assert came.wait(60)
    finally:
        watch = listener._listeners[alias]
        with watch._lock:
            watch._waiting.clear()
            watch._left_at = 0.0
            watch._wake()
        assert watch.gone.wait(60)
