"""Workflows with a real worker: what runs after what, with which values, and what a failure does to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from taskq import AsyncResult, chain, chord, chunks, group
from taskq.exceptions import ChordError, NotRegistered, TaskRevokedError, WorkerLostError
from taskq.models import Message, TaskRun
from taskq.sending.send import send_task
from testproject.arithmetic.tasks import mul, xsum
from tests.support import workers
from tests.support.databases import Database
from tests.support.jobs import flows
from tests.support.jobs.flows import add, boom, double, same, total
from tests.support.processes import Process
from tests.support.waiting import wait_until

SECONDS = 30.0


@pytest.fixture(scope="module")
def notes_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canvas") / "notes"
    path.touch()
    return path


@pytest.fixture(scope="module")
def worker(
    database: Database, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory, notes_path: Path
) -> Iterator[Process]:
    with django_db_blocker.unblock(), workers.on(database, tmp_path_factory.mktemp("workers")) as processes:
        worker = workers.start_worker(
            processes, "-c", "2", MAX_DELIVERIES=1, environment={"TEST_NOTES": str(notes_path)}
        )
        yield worker
        assert worker.stop() == 0, worker.log


@pytest.fixture(autouse=True)
def alias(worker: Process, database: Database, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with django_db_blocker.unblock():
        yield database.alias


def get(result: Any) -> Any:
    return result.get(timeout=SECONDS)


def failure(result: Any) -> BaseException:
    """Wait for the end of a task that fails, and return its own exception."""
    wait_until(lambda: AsyncResult(result.id).ready(), SECONDS, what=f"the end of {result.id}")
    own = AsyncResult[Any](result.id)
    assert own.state in ("FAILURE", "REVOKED"), own.state
    assert isinstance(own.result, BaseException)
    return own.result


def lines_of(path: Path, part: str) -> list[str]:
    """Return the notes with ``part`` in them, without time and process."""
    return [line.rsplit(" ", 2)[0] for line in path.read_text().splitlines() if part in line]


# -- the guide


def test_examples_of_the_guide_give_their_values() -> None:
    assert get(group(add.s(i, i) for i in range(10))()) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    partial = group(add.s(i) for i in range(10))
    assert get(partial(10)) == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert get(chain(add.s(4, 4) | mul.s(8))()) == 64
    assert get(chain(add.s(4) | mul.s(8))(4)) == 64
    assert get((add.s(4, 4) | mul.s(8))()) == 64
    assert get(chord((add.s(i, i) for i in range(10)), xsum.s())()) == 90
    assert get((group(add.s(i, i) for i in range(10)) | xsum.s())()) == 90
    assert get(add.apply_async((2, 2), link=add.s(16))) == 4
    assert get((add.s(1, 1) | group(add.s(i) for i in range(3)))()) == [2, 3, 4]


# -- what runs after what


def test_chain_gives_values_under_ids_known_when_sent(alias: str) -> None:
    result = chain(add.s(1, 1), add.s(2), add.s(3))()
    assert get(result) == 7
    assert get(result.parent) == 4
    assert get(result.parent.parent) == 2


def test_immutable_link_gets_no_value() -> None:
    assert get((add.s(1, 1) | add.si(5, 5))()) == 10


@pytest.mark.parametrize(
    ("canvas", "value"),
    [
        (lambda: add.s(1, 1) | group(add.s(1), add.s(2)) | total.s(), 7),
        (lambda: group(add.s(1, 1)) | same.s(), [[2]]),
        (lambda: chord([], total.s()), 0),
        (lambda: chord([add.s(4, 4)], total.s()), 8),
        (lambda: chord([chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(3, 3)], total.s()), 12),
        (lambda: chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)], same.s()), [[2, 4, 6]]),
        (lambda: chord([add.s(1, 1) | add.s(3), add.s(1, 1)], total.s()), 7),
        (lambda: chord([add.s(1, 1), add.s(2, 2)], total.s() | add.s(10)), 16),
        (lambda: group(add.s(1, 1), add.s(2, 2)) | group(total.s(), same.s()), [6, [[2, 4]]]),
        (lambda: group(add.s(1, 1), add.s(2, 2)) | total.s() | group(add.s(1), add.s(2)) | total.s(), 15),
        # Groups in chains in headers: the list that such a chain gives is one value.
        (lambda: chord([add.s(1, 1) | group(add.s(1), add.s(2)), add.s(3, 3)], same.s()), [[[3, 4], 6]]),
        (lambda: chord([add.s(1, 1) | group(add.s(1), add.s(2)) | total.s(), add.s(3, 3)], same.s()), [[7, 6]]),
        (lambda: chord([chord([add.s(1, 1)], group(total.s(), same.s())), add.s(3, 3)], same.s()), [[[2, [[2]]], 6]]),
        (lambda: chord([group(add.s(1, 1) | group(add.s(1), add.s(2)), add.s(2, 2))], same.s()), [[[3, 4], 4]]),
        (lambda: group(add.s(1, 1) | group(add.s(1), add.s(2) | group(add.s(3), add.s(4)))), [3, [7, 8]]),
        (lambda: chain(group(add.s(1, 1)), same.s()), [[2]]),
    ],
)
def test_canvases_of_every_shape_give_their_values(canvas: Any, value: Any) -> None:
    assert get(canvas()()) == value


def test_nine_chords_in_a_row() -> None:
    canvas: Any = add.s(0, 1)
    for _ in range(9):
        canvas = canvas | group(add.s(0), add.s(0)) | total.s()
    assert get(canvas()) == 2**9


def test_chain_of_two_hundred_links() -> None:
    result = chain(add.s(1) for _ in range(200))(0)
    assert get(result) == 200
    assert len(list(result.ancestors())) == 199


def test_groups_nested_fifty_deep() -> None:
    canvas: Any = add.s(0, 0)
    for i in range(1, 51):
        canvas = group(canvas, add.s(i, i))
    assert get(canvas()) == [2 * i for i in range(51)]
    assert get(chord([canvas], total.s())()) == sum(2 * i for i in range(51))
    # And where each of them waits for the one around it.
    canvas = add.s(1)
    for _ in range(25):
        canvas = add.s(1) | group(canvas, add.s(0))
    assert deepest(get(canvas(0))) == 26


def deepest(value: Any) -> int:
    return max(map(deepest, value)) if isinstance(value, list) else int(value)


def test_header_of_a_thousand_members_from_a_generator() -> None:
    assert get(chord((add.s(i, i) for i in range(1000)), total.s())()) == 999_000


def test_map_starmap_and_chunks_give_lists() -> None:
    assert get(double.map([1, 2, 3]).delay()) == [2, 4, 6]
    assert get(add.starmap([(1, 1), (2, 2)]).delay()) == [2, 4]
    assert get(chunks(add, [(i, i) for i in range(5)], 2)()) == [[0, 2], [4, 6], [8]]


def test_callbacks_run_as_children_of_their_task(notes_path: Path) -> None:
    result = add.apply_async((1, 1), link=[flows.noted.si(str(notes_path), "first"), flows.lineage.s()])
    assert get(result) == 2
    wait_until(lambda: lines_of(notes_path, "first"), SECONDS, what="the first callback")
    assert [child.name for child in result.children or ()] == [flows.noted.name, flows.lineage.name]
    child = (result.children or [])[1]
    assert get(child)[1:3] == [result.id, result.id]


def test_callback_of_a_member_does_not_hold_up_the_body(notes_path: Path) -> None:
    member = add.s(1, 1)
    member.link(flows.noted.si(str(notes_path), "of a member"))
    assert get(chord([member, add.s(2, 2)], total.s())()) == 6
    wait_until(lambda: lines_of(notes_path, "of a member"), SECONDS, what="the callback")


def test_ignored_results_reach_the_body_and_the_next_link(alias: str) -> None:
    result = chord([flows.add_ignored.s(1, 1), flows.add_ignored.s(2, 2)], total.s())()
    assert get(result) == 6
    assert not TaskRun.objects.using(alias).filter(task_id__in=[m.id for m in result.parent]).exists()
    assert get((flows.add_ignored.s(1, 1) | add.s(2))()) == 4


# -- retries and replacements


def test_retried_task_keeps_its_chain_and_chord() -> None:
    assert get((flows.second_try.s(1) | add.s(2))()) == 3
    assert get(chord([flows.second_try.s(5), add.s(1, 1)], same.s())()) == [[5, 2]]


def test_replacement_gives_its_value_in_place_of_the_task() -> None:
    assert get(flows.becomes_chain.delay(5)) == 12
    assert get(flows.becomes_group.delay(1)) == [2, 4]
    assert get((flows.becomes_chain.s(5) | add.s(1))()) == 13
    assert get(chord([flows.becomes_chain.s(5), add.s(1, 1)], same.s())()) == [[12, 2]]
    assert get(chord([flows.becomes_group.s(1), add.s(1, 1)], same.s())()) == [[[2, 4], 2]]


def test_member_added_to_a_chord_reaches_the_body() -> None:
    assert get(chord([flows.brings_along.s(1), add.s(1, 1)], same.s())()) == [[1, 2, 101]]


def test_stamps_reach_every_task_of_a_canvas() -> None:
    canvas = flows.stamps.s() | group(flows.stamps.s(), flows.stamps.s()) | flows.stamps.s()
    canvas.stamp(tenant="acme")
    found = get(canvas())
    own = found[-1]
    assert own["tenant"] == "acme"
    assert found == [[own, own], [own, own], own]


def test_empty_group_gives_an_empty_list() -> None:
    assert get(group()()) == []


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


# -- messages of Celery's producers


def test_celerys_built_in_tasks_run() -> None:
    sig = dict(double.s())
    assert get(send_task("celery.map", kwargs={"task": sig, "it": [1, 2]})) == [2, 4]
    assert get(send_task("celery.starmap", kwargs={"task": dict(add.s()), "it": [[1, 2]]})) == [3]
    assert get(send_task("celery.chunks", kwargs={"task": dict(add.s()), "it": [[1, 2], [3, 4], [5, 6]], "n": 2}))
    assert get(send_task("celery.accumulate", (1, 2))) == [1, 2]
    assert get(send_task("celery.group", kwargs={"tasks": [add.s(1, 1), add.s(2, 2)]})) == [2, 4]
    assert get(send_task("celery.chord", kwargs={"header": [add.s(1, 1), add.s(2, 2)], "body": total.s()})) == 6


@pytest.mark.parametrize("fails", [False, True])
def test_chord_unlock_of_celerys_producers_runs_or_fails_the_body(fails: bool) -> None:
    members = [add.delay(1, 1), boom.delay() if fails else add.delay(2, 2)]
    body = total.s()
    result = body.freeze()
    send_task("celery.chord_unlock", ("g", body), {"result": [m.as_tuple() for m in members], "interval": 0.05})
    if fails:
        assert str(failure(result)) == f"Dependency {members[1].id} raised ValueError('boom')"
    else:
        assert get(result) == 6
