"""What becomes of a canvas, on a real worker, of which a task does not succeed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq import AsyncResult, chain, chord, group
from taskq.exceptions import ChordError, NotRegistered, TaskRevokedError, WorkerLostError
from taskq.models import Message
from tests.support.jobs import flows
from tests.support.jobs.flows import add, boom, total
from tests.support.waiting import wait_until

from .ends import SECONDS, failure, get, lines_of

# -- failures


def test_failed_link_fails_the_rest_of_the_chain() -> None:
    result = chain(add.s(1, 1), boom.s(), add.s(1))()
    assert repr(failure(result)) == "ValueError('boom')"
    assert repr(failure(result.parent)) == "ValueError('boom')"
    assert get(result.parent.parent) == 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_errback_of_a_chain_is_called_once_for_the_link_that_failed(place: int, notes_path: Path) -> None:
    tasks: list[Any] = [add.si(1, 1), add.si(1, 1), add.si(1, 1)]
    tasks[place] = boom.si()
    canvas = chain(*tasks)
    canvas.link_error(flows.on_error_new.s())
    result = canvas()
    failed = [result.parent.parent, result.parent, result][place]
    failure(result)
    wait_until(lambda: lines_of(notes_path, failed.id), SECONDS, what="the errback")
    assert lines_of(notes_path, failed.id) == [f"new {failed.id} ValueError('boom') True"]


def test_errbacks_of_both_styles_are_called(notes_path: Path) -> None:
    result = boom.apply_async(link_error=[flows.on_error_new.s(), flows.on_error_old.s()])
    failure(result)
    wait_until(lambda: len(lines_of(notes_path, result.id)) == 2, SECONDS, what="both errbacks")
    assert set(lines_of(notes_path, result.id)) == {f"new {result.id} ValueError('boom') True", f"old {result.id}"}


def test_errback_may_take_longer_than_the_time_limit_of_its_task(alias: str, notes_path: Path) -> None:
    result = boom.apply_async(time_limit=0.5, link_error=flows.on_error_slow.s())
    assert repr(failure(result)) == "ValueError('boom')"
    wait_until(lambda: lines_of(notes_path, f"slow {result.id}"), SECONDS, what="the errback")
    wait_until(lambda: not Message.objects.using(alias).exists(), SECONDS, what="the end of the errback")
    assert lines_of(notes_path, f"slow {result.id}") == [f"slow {result.id} ValueError('boom')"]
    assert repr(failure(result)) == "ValueError('boom')"


def test_errback_that_kills_its_process_does_not_run_the_task_again(
    alias: str, notes_path: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    result = flows.noted_boom.apply_async((str(ran),), link_error=flows.on_error_dies.s())
    assert repr(failure(result)) == "ValueError('boom')"
    wait_until(lambda: not Message.objects.using(alias).exists(), SECONDS, what="the end of the errback")
    assert lines_of(notes_path, f"dies {result.id}") == [f"dies {result.id} ValueError('boom')"]
    assert len(lines_of(ran, "boom")) == 1


def test_failed_member_fails_the_body_and_calls_its_errback_once(notes_path: Path) -> None:
    result = chord([add.s(1, 1), boom.s(), boom.s()], total.s().on_error(flows.on_error_new.s()))()
    error = failure(result)
    assert isinstance(error, ChordError)
    assert str(error) in {f"Dependency {member.id} raised ValueError('boom')" for member in result.parent}
    wait_until(lambda: lines_of(notes_path, result.id), SECONDS, what="the errback")
    wait_until(lambda: all(AsyncResult(m.id).ready() for m in result.parent), SECONDS, what="the members")
    (line,) = lines_of(notes_path, f"new {result.id}")
    assert line == f"new {result.id} {error!r} False"


@pytest.mark.parametrize(
    "member",
    [
        lambda: boom.si() | add.si(1, 1),
        lambda: add.si(1, 1) | group(boom.si(), add.si(1, 1)),
        lambda: add.si(1, 1) | boom.si() | group(add.si(1, 1), add.si(1, 1)),
        lambda: boom.si() | group(add.si(1, 1), add.si(1, 1)) | total.s(),
        lambda: add.si(1, 1) | group(boom.si() | add.si(1, 1), add.si(1, 1)) | total.s(),
        lambda: add.si(1, 1) | group(add.si(1, 1), add.si(1, 1) | group(boom.si(), add.si(1, 1))),
        lambda: add.si(1, 1) | group(chord([boom.si(), add.si(1, 1)], total.s()), add.si(1, 1)),
        lambda: group(add.si(1, 1) | group(add.si(1, 1), boom.si() | add.si(1, 1)), add.si(1, 1)),
        lambda: chord([boom.si()], total.s()),
        lambda: chord([add.si(1, 1)], group(boom.si(), total.s())),
    ],
)
def test_failure_anywhere_in_a_header_fails_the_body(member: Any) -> None:
    result = chord([member(), add.s(1, 1)], total.s() | add.s(1))()
    assert isinstance(failure(result), ChordError)
    assert isinstance(failure(result.parent), ChordError)
    header = result.parent.parent
    parts = [header, *(before for one in header for before in one.ancestors())]
    ids = {leaf.id for part in parts for leaf in part.leaves()}
    wait_until(lambda: all(AsyncResult(task_id).ready() for task_id in ids), SECONDS, what="all of the header")


def test_member_that_raises_ignore_fails_the_body() -> None:
    result = chord([flows.ignores.si(), add.s(1, 1)], total.s() | add.s(1))()
    assert isinstance(failure(result), ChordError)
    assert isinstance(failure(result.parent), ChordError)


@pytest.mark.parametrize("allowed", [True, False])
def test_errbacks_of_members_need_the_setting(allowed: bool, notes_path: Path, tmp_path: Path, settings: Any) -> None:
    settings.TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER = allowed
    canvas = chord([boom.si(), add.s(1, 1), boom.si(), boom.si()], total.s())
    canvas.link_error(flows.on_error_new.s())
    old = tmp_path / "old"
    canvas.link_error(flows.on_error_counted.si(str(old)))
    result = canvas()
    failing = [result.id, *(result.parent[i].id for i in (0, 2, 3))]
    for task_id in failing:
        failure(AsyncResult(task_id))
    wait_until(lambda: not Message.objects.using(settings.TASKQ_DATABASE).exists(), SECONDS, what="the last errback")
    called = [len(lines_of(notes_path, f"new {task_id}")) for task_id in failing]
    assert called == ([1, 1, 1, 1] if allowed else [1, 0, 0, 0])
    assert len(lines_of(old, "called")) == (4 if allowed else 1)


def test_failed_body_leaves_its_header_successful() -> None:
    result = chord([add.s(1, 1)], boom.s())()
    assert repr(failure(result)) == "ValueError('boom')"
    assert get(result.parent) == [2]


def test_killed_member_fails_the_body_and_calls_its_own_errback_once(notes_path: Path) -> None:
    dies = flows.dies.s().on_error(flows.on_error_new.s())
    result = chord([dies, add.s(1, 1)], total.s())()
    assert "WorkerLostError" in str(failure(result))
    killed = result.parent[0]
    assert isinstance(failure(killed), WorkerLostError)
    wait_until(lambda: lines_of(notes_path, f"new {killed.id}"), SECONDS, what="the errback")
    assert len(lines_of(notes_path, f"new {killed.id}")) == 1


def test_member_killed_by_its_time_limit_fails_the_body(tmp_path: Path) -> None:
    never = flows.waits.s(str(tmp_path / "never")).set(time_limit=0.3)
    result = chord([never, add.s(1, 1)], total.s())()
    assert "TimeLimitExceeded" in str(failure(result))


def test_unknown_task_fails_its_chain_or_chord() -> None:
    from taskq import signature

    unknown = signature("no.such.task", immutable=True)
    in_chain = chain(add.si(1, 1), unknown, add.si(1, 1))()
    assert isinstance(failure(in_chain), NotRegistered)
    in_header = chord([unknown, add.s(1, 1)], total.s())()
    assert "NotRegistered" in str(failure(in_header))
    as_body = chord([add.s(1, 1)], signature("no.such.task"))()
    assert isinstance(failure(as_body), NotRegistered)


def test_expired_task_ends_its_chain_or_chord() -> None:
    result = chain(add.si(1, 1).set(expires=-1), add.s(1), add.s(1))()
    assert isinstance(failure(result), TaskRevokedError)
    in_header = chord([add.s(1, 1).set(expires=-1), add.s(1, 1)], total.s())()
    assert isinstance(failure(in_header), ChordError)


def test_revoked_chain_sends_no_further_links(alias: str, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    result = chain(flows.waits.s(str(go_on), 1), add.s(1), add.s(1))()
    result.revoke()
    go_on.touch()
    assert isinstance(failure(result), TaskRevokedError)
    assert isinstance(failure(result.parent), TaskRevokedError)
    wait_until(lambda: not Message.objects.using(alias).exists(), SECONDS, what="the end of all messages")


NOWHERE = {"exchange": "nowhere", "routing_key": "x"}


def test_unroutable_errback_changes_no_end_and_stops_no_other_errback(notes_path: Path) -> None:
    errbacks = [flows.on_error_old.s().set(**NOWHERE), flows.on_error_old.s()]
    bad = boom.si()
    for errback in errbacks:
        bad.link_error(errback)
    result = chain(bad, add.si(1, 1), add.si(1, 1))()
    for each in (result, result.parent, result.parent.parent):
        assert repr(failure(each)) == "ValueError('boom')"
    first = result.parent.parent.id
    wait_until(lambda: lines_of(notes_path, first), SECONDS, what="the errback that can be sent")
    body = total.s()
    body.link_error(errbacks[0])
    assert "boom" in str(failure(chord([boom.si(), add.si(1, 1)], body)()))


def test_unroutable_errback_does_not_stop_a_revoke_or_a_loss() -> None:
    body = total.s().on_error(flows.on_error_old.s().set(**NOWHERE))
    result = chord([add.s(1, 1).set(countdown=600), add.s(1, 1)], body)()
    result.parent[0].revoke()
    assert isinstance(failure(result), ChordError)
    dies = chain(flows.dies.si().on_error(flows.on_error_old.s().set(**NOWHERE)), add.si(1, 1))()
    assert isinstance(failure(dies), WorkerLostError)


@pytest.mark.parametrize(
    "follows",
    [
        lambda: add.s(1).set(**NOWHERE) | add.s(1),
        lambda: group(add.s(1).set(**NOWHERE), add.s(2)) | total.s() | add.s(1),
    ],
)
def test_task_with_an_unroutable_next_link_fails_and_calls_its_errbacks_once(follows: Any, notes_path: Path) -> None:
    first = add.s(1, 1).on_error(flows.on_error_old.s()).on_error(flows.on_error_new.s())
    result = (first | follows())()
    line = [result]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    leaves = [leaf for each in line for leaf in each.leaves()]
    for leaf in leaves:
        assert "No queue is bound to exchange 'nowhere'" in str(failure(leaf)), leaf
    failed = line[-1].id
    wait_until(lambda: len(lines_of(notes_path, failed)) == 2, SECONDS, what="both errbacks")
    assert {line.split()[0] for line in lines_of(notes_path, failed)} == {"old", "new"}
