from __future__ import annotations

import json

from taskq.exceptions import SoftTimeLimitExceeded
from taskq.execution.outcomes import crashed
from taskq.worker.pools import frames
from tests.unit.worker.pools.driver import delivery


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


def test_error_of_the_runner_becomes_a_failure_outcome_in_plain_values():
    one = delivery()
    try:
        raise SoftTimeLimitExceeded(3)
    except SoftTimeLimitExceeded as error:
        outcome = crashed(one, error)

    assert (outcome.job, outcome.task_id, outcome.state) == (one.job, one.task_id, "FAILURE")
    assert json.loads(outcome.result or "") == {
        "exc_type": "SoftTimeLimitExceeded",
        "exc_message": [3],
        "exc_module": "billiard.exceptions",
    }
    assert "test_outcomes" in (outcome.traceback or "")


def test_error_whose_text_raises_still_becomes_a_failure_outcome():
    outcome = crashed(delivery(), Mute(Mute()))

    assert json.loads(outcome.result or "")["exc_message"] == ["'Mute' instance whose repr() raised"]
    assert "Mute" in (outcome.traceback or "")


def test_crashed_run_fails_its_dependents_and_calls_its_errbacks():
    embed = {
        "callbacks": None,
        "errbacks": [{"task": "tests.errback", "args": [], "kwargs": {}, "options": {"task_id": "e"}}],
        "chain": [{"task": "tests.next", "args": [], "kwargs": {}, "options": {"task_id": "next"}}],
        "chord": None,
    }
    headers = {"task": "tests.obey", "id": "id-1", "root_id": "id-1"}

    outcome = crashed(delivery(json.dumps([[], {}, embed]), headers=json.dumps(headers)), ValueError("x"))

    assert [(task.task_id, task.name) for task in outcome.follow_ups.unreachable] == [("next", "tests.next")]
    assert [envelope.name for envelope in outcome.follow_ups.envelopes] == ["tests.errback"]
    frames.encode(frames.OUTCOME, outcome.to_wire())
