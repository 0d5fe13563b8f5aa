"""Canvases of which a task is revoked before they are sent end as if it had been revoked after."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from taskq import AsyncResult, chord, group, states
from taskq.exceptions import TaskRevokedError
from tests.support.jobs.flows import add, becomes, total
from tests.support.stores import on_stores_with_messages

from .conftest import Run, ends
from .test_engine_revoked import BY_ID

pytestmark = on_stores_with_messages

R = states.REVOKED
two, plus = add.s(1, 1), add.s(1)


@pytest.mark.parametrize("case", [k for k in BY_ID if "group" not in k and "header_of" not in k])
def test_revoking_an_id_before_the_canvas_is_sent(run: Run, case: str) -> None:
    sig, expected = BY_ID[case]
    AsyncResult("a").revoke()
    assert AsyncResult("a").state == R
    result = run(sig)
    assert str(ends(result)) == str(expected)


def test_revoking_a_frozen_task(run: Run) -> None:
    sig = two.clone()
    frozen = sig.freeze()
    frozen.revoke()
    result = run(sig)
    assert (result.id, result.state) == (frozen.id, R)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=1)


@pytest.mark.parametrize("sig", [two | plus | plus, group(two, two), chord([two, two], total.s()) | plus], ids=str)
def test_revoking_a_frozen_canvas_revokes_all_of_it(run: Run, sig: Any) -> None:
    sig = sig.clone()
    sig.freeze().revoke()
    assert {leaf.state for leaf in run(sig).leaves()} == {R}


@pytest.mark.parametrize("changed", [{"TASKQ_TRACK_PENDING": False}, {"TASKQ_IGNORE_RESULT": True}], ids=str)
def test_untracked_task(run: Run, changed: dict[str, bool]) -> None:
    AsyncResult("a").revoke()
    with override_settings(**changed):
        assert run(two.clone().set(task_id="a")).state == R


def test_second_sending_is_refused_too(run: Run) -> None:
    AsyncResult("a").revoke()
    sig = two.clone().set(task_id="a")
    assert [run(sig).state, run(sig).state] == [R, R]


def test_other_ids_run(run: Run) -> None:
    AsyncResult("a").revoke()
    assert run(two.clone().set(task_id="b")).get(timeout=1) == 2


def test_settled_task_that_is_revoked_may_be_sent_again(run: Run) -> None:
    sig = two.clone().set(task_id="a")
    run(sig).revoke()
    assert run(sig).get(timeout=1) == 2


def test_task_of_a_replacement_that_was_revoked_before(run: Run) -> None:
    AsyncResult("a").revoke()
    result = run(becomes.s(two.clone().set(task_id="a") | plus))
    assert (AsyncResult("a").state, result.successful()) == (R, False)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=1)
