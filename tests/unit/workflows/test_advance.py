"""What one batch of ends tells its store, and the order in which it does."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from taskq import states
from taskq.messages.protocol import RawMessage
from taskq.records import LOOK_UP_IN_ROWS, Envelope, FollowUps, NewGroup, NewNode, Settlement, Unreachable
from taskq.workflows.advance import advance, work_off_singly
from taskq.workflows.memory import MemoryWorkflows, Runs
from taskq.workflows.parts import Pending


class Ends(Runs):
    """Runs that are only their ends."""

    def __init__(self) -> None:
        self.ends: dict[str, Settlement] = {}
        self.sent: list[str] = []

    def is_final(self, task_id: str) -> bool:
        return task_id in self.ends

    def write(self, settlement: Settlement) -> None:
        if settlement.state in states.READY_STATES:
            self.ends[settlement.task_id] = settlement

    def value(self, task_id: str) -> tuple[str, str | None, str] | None:
        end = self.ends.get(task_id)
        return None if end is None else (end.state, end.result, end.content_type)

    def delete(self, task_id: str) -> None:
        del self.ends[task_id]

    def message(self, settlement: Settlement) -> RawMessage | None:
        return None

    def send(self, envelope: Envelope) -> None:
        self.sent.append(envelope.task_id)


class Store(MemoryWorkflows):
    """Notes the tasks of each call that writes ends."""

    def __init__(self) -> None:
        self.runs = Ends()
        self.written: list[list[str]] = []
        super().__init__(self.runs)

    def finalize(self, settlements: Sequence[Settlement]) -> set[str]:
        self.written.append([s.task_id for s in settlements])
        return super().finalize(settlements)


@pytest.fixture
def store() -> Store:
    return Store()


def end(task_id: str, *dependents: str, state: str = states.FAILURE, group_id: str = "g") -> Settlement:
    follow_ups = FollowUps(unreachable=[Unreachable(each) for each in dependents])
    return Settlement(1, task_id, state, result="{}", group_id=group_id, member=True, follow_ups=follow_ups)


def body(task_id: str) -> str:
    return json.dumps({"task": "shop.total", "args": [], "kwargs": {}, "options": {"task_id": task_id}})


def node(task_id: str, group_id: str) -> NewNode:
    return NewNode("root", task_id, "shop.add", group_id=group_id)


def replaced(task_id: str, by: str) -> Settlement:
    nodes = [NewNode("root", by, "shop.add"), NewNode("root", task_id, "shop.add", waits_for=by)]
    return Settlement(1, task_id, states.IGNORED, follow_ups=FollowUps(nodes=nodes))


def test_ends_of_a_batch_are_those_of_tasks_that_became_final(store: Store) -> None:
    assert advance(store, [end("a", "c", "b"), end("d", state=states.SUCCESS)]) == ["a", "d", "b", "c"]
    assert advance(store, [end("a", "c", "e")]) == [], "it had ended before"
    assert advance(store, [replaced("r", by="s")]) == [], "it has not ended"
    assert set(store.runs.ends) == {"a", "b", "c", "d"}


def test_ends_are_written_in_the_order_of_their_ids(store: Store) -> None:
    """Two transactions that end the same tasks wait for each other, in whatever order these came."""
    advance(store, [end("b", "z"), end("a", "y", "x")])
    assert store.written == [["a", "b"], ["x", "y"], ["z"]]


def test_of_two_ends_of_a_task_the_first_one_counts_once(store: Store) -> None:
    store.insert([NewGroup("g", 2, None, "root")], ())
    assert advance(store, [end("a", state=states.SUCCESS), end("a"), end("b", state=states.SUCCESS)]) == ["a", "b"]
    assert store.runs.ends["a"].state == states.SUCCESS
    assert store.counts(["g"]) == [("g", 0, False)]


def test_dependents_that_two_ways_lead_to_fail_and_count_once(store: Store) -> None:
    store.insert([NewGroup("g", 1, None, "root"), NewGroup("h", 2, None, "root")], ())
    twice = [Unreachable("b", "shop.add", "h"), Unreachable("b", "shop.add", "h")]
    failed = Settlement(1, "a", states.FAILURE, result="{}", follow_ups=FollowUps(unreachable=twice))
    assert advance(store, [failed]) == ["a", "b"]
    assert store.counts(["h"]) == [("h", 1, True)]


def test_dependent_that_had_ended_does_not_count_again(store: Store) -> None:
    store.insert([NewGroup("h", 2, None, "root")], ())
    dependent = FollowUps(unreachable=[Unreachable("b", "shop.add", "h")])
    for task_id in ("a", "c"):
        advance(store, [Settlement(1, task_id, states.FAILURE, result="{}", follow_ups=dependent)])
    assert store.counts(["h"]) == [("h", 1, True)]


def test_dependents_that_a_message_names_fail_though_no_row_has_them(store: Store) -> None:
    """Of another producer's chain there are no nodes, and the row with its rest may be gone."""
    dependents = [Unreachable("b"), LOOK_UP_IN_ROWS]
    failed = Settlement(1, "a", states.FAILURE, result="{}", follow_ups=FollowUps(unreachable=dependents))
    assert advance(store, [failed]) == ["a", "b"]


def test_group_that_is_sent_again_has_the_size_of_the_new_one(store: Store) -> None:
    store.insert([NewGroup("g", 1, None, "root")], ())
    advance(store, [end("m", state=states.SUCCESS)])
    again = FollowUps(groups=[NewGroup("g", 2, "{}", "root")])
    advance(store, [Settlement(1, "a", states.SUCCESS, follow_ups=again)])
    assert store.counts(["g"]) == [("g", 2, False)]
    assert [body.body for body in store.bodies(["g"])] == ["{}"]


def test_group_fails_whose_body_can_not_be_read_and_has_no_nodes(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.insert([NewGroup("g", 2, "{", "root")], ())
    assert advance(store, [end("a")]) == ["a"]
    assert store.counts(["g"]) == [("g", 1, True)]
    assert len(caplog.records) == 1


def test_group_that_is_complete_sends_its_body_though_another_one_fails_in_the_same_batch(store: Store) -> None:
    store.insert([NewGroup(name, 1, body(f"body-{name}"), "root") for name in "fg"], [node("b", "g"), node("a", "f")])
    assert advance(store, [end("a", group_id="f"), end("b", state=states.SUCCESS)]) == ["a", "b", "body-f"]
    assert store.runs.sent == ["body-g"]


def test_part_whose_tasks_fail_is_not_sent_by_single_messages(store: Store) -> None:
    with pytest.raises(ValueError, match="fail already"):
        work_off_singly(store, Pending("part:1", error="{}"), "{}")
