"""The writer of rows: alters what taskq has stored and will send, or read back."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from taskq import AsyncResult, GroupResult, chord, group
from taskq.exceptions import SignatureMismatch
from taskq.models import Group, TaskRun

from .conftest import act, become, exploit, fail, join, ran

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
Work = Callable[..., list[str]]


class Exploit:
    """Acts when it is unpickled."""

    def __reduce__(self) -> Any:
        return exploit, ("exploit",)


def two_members() -> Any:
    """Send a chord; its second member waits in a queue that nobody reads yet."""
    return chord([act.s("first"), act.s("second").set(queue="elsewhere")], join.s()).delay()


def test_altered_body_of_a_chord_is_not_sent(signed: str, work: Work) -> None:
    bodies = Group.objects.using(signed)
    altered, bare, lineage, one, whole = (two_members() for _ in range(5))
    for result, body in (
        (altered, lambda text: text.replace("security.join", "security.fail")),
        (bare, lambda text: text[text.index("{") :]),
    ):
        (text,) = bodies.filter(group_id=result.parent.id).values_list("body", flat=True)
        assert bodies.filter(group_id=result.parent.id).update(body=body(text)) == 1
    bodies.filter(group_id=lineage.parent.id).update(root_id=whole.id)
    bodies.filter(group_id=one.parent.id).update(body=bodies.get(group_id=whole.parent.id).body)
    assert work() == ["first"] * 5
    assert work("elsewhere") == ["second"] * 5
    assert work() == ["join ['first', 'second']"]
    for result in (altered, bare, lineage, one):
        with pytest.raises(SignatureMismatch, match="altered"):
            result.get(timeout=10)
    assert whole.get(timeout=10) == "joined"


def test_altered_value_of_a_member_reaches_no_body(signed: str, work: Work) -> None:
    changes: list[dict[str, Any]] = [
        {"result": '"altered"'}, {"result": None}, {"content_type": "application/json"}, {"task_id": "swapped"},
    ]  # fmt: skip
    chords = [two_members() for _ in changes]
    work()
    for sent, change in zip(chords, changes, strict=True):
        TaskRun.objects.using(signed).filter(task_id=sent.parent[0].id).update(**change)
    assert work("elsewhere") + work() == ["second"] * len(changes)
    for sent in chords:
        assert sent.state == "FAILURE"


def test_altered_result_is_not_read(signed: str, work: Work, settings: Any) -> None:
    settings.TASKQ_ACCEPT_CONTENT = ["json", "pickle"]
    done, failed, empty, other = act.delay("done"), fail.delay("failed"), act.delay("empty"), act.delay("other")
    work()
    rows = TaskRun.objects.using(signed)
    pickled = base64.b64encode(pickle.dumps(Exploit())).decode()
    rows.filter(task_id=done.id).update(result=pickled, content_type="application/x-python-serialize;base64")
    rows.filter(task_id=failed.id).update(state="SUCCESS")
    rows.filter(task_id=empty.id).update(result=None)
    (theirs,) = rows.filter(task_id=other.id).values("result", "content_type")
    assert AsyncResult(other.id).get(timeout=10) == "other"
    another = act.delay("another")
    work()
    rows.filter(task_id=another.id).update(**theirs)
    ran.clear()
    for result in (done, failed, empty, another):
        with pytest.raises(SignatureMismatch, match="altered"):
            AsyncResult(result.id).get(timeout=10)
    rows.filter(task_id=other.id).update(state="FAILURE", result=json.dumps({"exc_type": "E", "exc_message": []}))
    with pytest.raises(SignatureMismatch, match="altered"):
        AsyncResult(other.id).get(timeout=10)
    assert ran == []


def test_failure_that_takes_the_place_of_a_success_is_sealed(signed: str, work: Work) -> None:
    sig = act.s("replacement") | act.si("next")
    sig.freeze()
    first, second = become.delay(sig), become.delay(sig)
    work()
    failed = first if first.state == "FAILURE" else second
    assert "was sent before" in str(failed.result)


def test_altered_saved_group_is_not_restored(signed: str, work: Work) -> None:
    saved = group(act.s("a"), act.s("b")).delay()
    saved.save()
    restored = GroupResult.restore(saved.id)
    assert restored is not None
    assert [result.id for result in restored] == [result.id for result in saved]
    rows = Group.objects.using(signed).filter(size=0)
    rows.update(body=rows.get().body.replace(saved[0].id, "other"))  # type: ignore[union-attr]
    with pytest.raises(SignatureMismatch):
        GroupResult.restore(saved.id)
