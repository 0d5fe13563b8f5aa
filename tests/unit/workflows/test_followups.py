"""What follows from ends that have no outcome, or whose follow-ups can't be sent."""

from __future__ import annotations

import json
from typing import Any

from taskq import states
from taskq.messages.values import decode_exception
from taskq.records import FollowUps, NewGroup, Rest, Settlement, Unreachable
from taskq.workflows import followups, rests
from tests.support.envelopes import envelope


def signature(task_id: str, **options: Any) -> dict[str, Any]:
    return {"task": "shop.add", "args": [], "kwargs": {}, "options": {"task_id": task_id, **options}}


def ids_of(found: FollowUps) -> list[str]:
    return [each.task_id for each in found.unreachable]


def success(**follow_ups: Any) -> Settlement:
    return Settlement(1, "t", states.SUCCESS, "shop.add", result="3", keep=False, follow_ups=FollowUps(**follow_ups))


def test_failure_in_place_of_a_success_is_kept_though_its_message_is_gone() -> None:
    failed = followups.failed_instead(success(envelopes=[envelope("next")]), None, ValueError("no queue"))
    assert (failed.state, failed.keep, ids_of(failed.follow_ups)) == (states.FAILURE, True, ["next"])
    assert str(decode_exception(failed.result)) == "no queue"


def test_tasks_that_were_sent_before_do_not_fail_with_the_replacement() -> None:
    replacement = success(envelopes=[envelope("sent"), envelope("new")])
    failed = followups.failed_instead(replacement, None, ValueError(), already_sent={"sent"})
    assert ids_of(failed.follow_ups) == ["new"]


def test_lost_follow_ups_are_messages_the_rests_of_chains_and_the_bodies_of_groups() -> None:
    behind = [rests.reference("large-rest:c")]
    body = json.dumps(signature("body", link=[signature("link")]))
    groups = [
        NewGroup("g", 2, body),
        NewGroup("rest:x", 0, body),
        NewGroup("h", 1),
        NewGroup("i", 1, body, added=["j"]),
    ]
    rest = Rest("large-rest:b", "1", "t", "t", json.dumps(behind))
    lost = FollowUps([envelope("a")], groups, rests=[rest])
    found = [each.task_id for each in followups.unreachable_of(lost)]
    assert found == ["a", "large-rest:b", "large-rest:c", "body", "link"]


def test_member_that_was_not_added_counts_in_no_group() -> None:
    headers = {"task": "shop.add", "id": "a", "group": "g", "group_index": 0}
    lost = FollowUps([envelope("a", headers=headers)])
    assert followups.unreachable_of(lost)[0] == Unreachable("a", "shop.add", "g")
    added = FollowUps(lost.envelopes, [NewGroup("g", 1, added=["a"])])
    assert followups.unreachable_of(added)[0] == Unreachable("a", "shop.add", "")
