"""The writer of rows: alters what taskq has stored and will send, or read back."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from taskq import AsyncResult, GroupResult, chain, chord, group
from taskq.exceptions import SignatureMismatch
from taskq.models import Group, Message, Node, TaskRun
from taskq.store.revoke import revoke

from .conftest import act, become, exploit, extend, fail, join, ran, snapshot

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
            result.get(timeout=60)
    assert whole.get(timeout=60) == "joined"


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
    assert AsyncResult(other.id).get(timeout=60) == "other"
    another = act.delay("another")
    work()
    rows.filter(task_id=another.id).update(**theirs)
    ran.clear()
    for result in (done, failed, empty, another):
        with pytest.raises(SignatureMismatch, match="altered"):
            AsyncResult(result.id).get(timeout=60)
    rows.filter(task_id=other.id).update(state="FAILURE", result=json.dumps({"exc_type": "E", "exc_message": []}))
    with pytest.raises(SignatureMismatch, match="altered"):
        AsyncResult(other.id).get(timeout=60)
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


# -- each column of a workflow's rows, altered alone half-way


#: What becomes of a chord whose first member has ended: its body runs with its own values, fails, or waits for ever.
RUNS, FAILS, WAITS = "runs", "fails", "waits"
GROUP_COLUMNS: list[tuple[str, Any, str]] = [
    ("id", 1_000_000, RUNS), ("group_id", "other", WAITS), ("size", 2, FAILS), ("size", 4, FAILS),
    ("remaining", 1, FAILS), ("remaining", 5, WAITS), ("failed", True, WAITS), ("body", None, WAITS),
    ("body", "{}", FAILS), ("root_id", "other", FAILS), ("parent_id", "other", FAILS),
    ("created_at", "2001-01-01T00:00:00Z", RUNS),
]  # fmt: skip
#: ``None`` stands for an id of another workflow.
NODE_COLUMNS: list[tuple[str, Any, str]] = [
    ("id", 1_000_000, RUNS), ("root_id", None, FAILS), ("task_id", None, FAILS), ("name", "other", FAILS),
    ("kind", "part", FAILS), ("kind", "task", FAILS), ("group_id", None, FAILS), ("position", 7, FAILS),
    ("waits_for", None, FAILS), ("ignored", True, RUNS), ("revoked", True, RUNS), ("state", "SUCCESS", RUNS),
    ("created_at", "2001-01-01T00:00:00Z", RUNS),
]  # fmt: skip


def three_members(name: str) -> Any:
    """Send a chord with something behind it; the members wait in queues of their own."""
    members = [act.s(f"{name} {queue}").set(queue=queue) for queue in ("taskq", "elsewhere", "later")]
    return (chord(members, join.s()) | act.si(f"{name} after")).delay()


def test_each_column_of_a_chord_altered_alone(signed: str, work: Work) -> None:
    assert {column for column, *_ in GROUP_COLUMNS} == {field.name for field in Group._meta.fields}
    assert {column for column, *_ in NODE_COLUMNS} == {field.name for field in Node._meta.fields}
    cases = [(Group, *case) for case in GROUP_COLUMNS] + [(Node, *case) for case in NODE_COLUMNS]
    chords = [three_members(str(number)) for number in range(len(cases))]
    other, plain = three_members("other"), act.delay("plain").id
    work()
    untouched = TaskRun.objects.using(signed).filter(task_id=plain)
    before = untouched.values().get()
    for number, (model, column, value, _) in enumerate(cases):
        header = chords[number].parent.parent
        rows: Any = Group.objects.filter(group_id=header.id)
        if model is Node:
            value = {"task_id": plain, "group_id": other.parent.parent.id, "root_id": other.parent.parent[0].id,
                     "waits_for": other.parent.parent[0].id}.get(column, value)  # fmt: skip
            rows = Node.objects.filter(task_id=header[0].id)
        assert rows.using(signed).update(**{column: value}) == 1
    for queue in ("elsewhere", "later", "taskq", "taskq"):
        work(queue)
    names = [*map(str, range(len(cases))), "other"]
    bodies = {f"join ['{name} taskq', '{name} elsewhere', '{name} later']": name for name in names}
    joined = [what for what in ran if what.startswith("join")]
    assert set(joined) <= bodies.keys()
    seen = {bodies[what]: RUNS for what in joined if f"{bodies[what]} after" in ran}
    for name, sent in zip(names, [*chords, other], strict=True):
        if sent.state == "FAILURE":
            with pytest.raises(SignatureMismatch, match="altered"):
                sent.parent.get(timeout=60)
            seen[name] = FAILS
    assert [seen.get(name, WAITS) for name in names] == [*(wanted for *_, wanted in cases), RUNS]
    assert untouched.values().get() == before


def test_each_column_of_a_chain_altered_alone(signed: str, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is in a row of its own; only what covers that row, or says that the step is over, stops it."""
    monkeypatch.setattr("taskq.workflows.rests.MOST_STEPS", 1)
    cases: list[tuple[Any, str, Any]] = [(Group, *case[:2]) for case in GROUP_COLUMNS]
    cases += [(Node, *case[:2]) for case in NODE_COLUMNS]
    steps = [act.s().set(queue="elsewhere"), act.s().set(queue="later")]
    chains = [chain(act.s(str(number)), *steps).delay() for number in range(len(cases))]
    work()
    for sent, (model, column, value) in zip(chains, cases, strict=True):
        ids = {"group_id": f"rest:{sent.id}"} if model is Group else {"task_id": sent.id}
        value = chains[0].id if value is None and model is Node and column != "task_id" else value or "other"
        assert model.objects.using(signed).filter(**ids).update(**{column: value}) == 1
    work("elsewhere")
    work("later")
    stopped = {"group_id", "size", "body", "root_id", "parent_id"}, {"revoked", "state"}
    expected = [2 if column in stopped[model is Node] else 3 for model, column, _ in cases]
    assert [ran.count(str(number)) for number in range(len(cases))] == expected


def test_nodes_draw_no_other_task_into_an_end(signed: str, work: Work) -> None:
    """The attacker makes others' tasks wait for a chord that fails, and for a task that is revoked."""
    failing = chord([act.s("member").set(queue="later")], join.s()).delay()
    revoked = chain(act.s("r").set(queue="later"), act.si("r2"), act.si("r3")).delay()
    victims, whole = chain(act.s("v").set(queue="elsewhere"), act.si("v2"), act.si("v3")).delay(), two_members()
    single = [act.apply_async(("single",), queue="elsewhere") for _ in range(2)]
    work()
    nodes = Node.objects.using(signed)
    first = revoked.parent.parent.id
    ends = [{"root_id": failing.parent[0].id, "waits_for": failing.parent.id}, {"root_id": first, "waits_for": first}]
    for drawn, forged, end in zip((victims.id, victims.parent.id), single, ends, strict=True):
        assert nodes.filter(task_id=drawn).update(**end) == 1
        real = nodes.get(task_id=failing.id)
        nodes.create(task_id=forged.id, name=real.name, kind=real.kind, created_at=real.created_at, **end)
    assert nodes.filter(task_id=revoked.id).update(group_id=whole.parent.id) == 1
    Group.objects.using(signed).filter(group_id=failing.parent.id).update(size=2)
    # Its message can't be read: the nodes tell its group.
    unread = chain(act.s("u").set(queue="later"), act.si("u2")).delay()
    assert Message.objects.using(signed).filter(task_id=unread.parent.id).update(body="{") == 1
    assert nodes.filter(task_id=unread.parent.id).update(group_id=whole.parent.id) == 1
    own = [failing.id, failing.parent[0].id, revoked.id, revoked.parent.id, first, unread.id, unread.parent.id]

    def others() -> list[dict[str, Any]]:
        return [row for row in snapshot(signed, but=own) if row["group_id"] != failing.parent.id]

    before = others()
    revoke([first, unread.parent.id])
    work("later")
    assert [each.state for each in (failing, revoked.parent, unread.parent)] == ["FAILURE", "REVOKED", "REVOKED"]
    assert others() == before
    work("elsewhere")
    work()
    work()
    expected = ["first", "second", "join ['first', 'second']", "member", "v", "v2", "v3", "single", "single"]
    assert sorted(what for what in ran if what != "last") == sorted(expected)


def test_body_waits_for_added_and_replaced_members(signed: str, work: Work) -> None:
    more = [act.s(name).set(queue="elsewhere") for name in "xy"]
    sent = chord([extend.s("a", *more), become.s(act.s("r") | act.s()), extend.s("b", act.s("z"))], join.s()).delay()
    altered = chord([extend.s("c", act.s("p").set(queue="elsewhere"))], join.s()).delay()
    for _ in range(3):
        work()
    nodes = Node.objects.using(signed)
    added = nodes.filter(group_id=altered.parent.id).exclude(task_id=altered.parent[0].id)
    assert added.update(group_id="") == 1
    # Their order does not hang on the keys of the rows.
    (third,) = nodes.filter(group_id=sent.parent.id).order_by("position")[3:4]
    assert nodes.filter(task_id=third.task_id).update(id=1_000_000) == 1
    work("elsewhere")
    work()
    assert sent.get(timeout=60) == "joined"
    assert [what for what in ran if what.startswith("join")] == ["join ['a', 'r', 'b', 'x', 'y', 'z']"]
    with pytest.raises(SignatureMismatch, match="altered"):
        altered.get(timeout=60)
