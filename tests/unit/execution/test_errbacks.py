"""Follow-ups of failures: what ends with a task, and the errbacks that are sent."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from taskq import chain, chord, group, task
from taskq.exceptions import Ignore, Reject
from taskq.execution.builtins import errback as errback_task
from taskq.messages.values import decode_exception
from taskq.records import Envelope, Unreachable
from tests.unit.execution.following import add, again, boom, call_of, dependents, follow_ups, total
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


@pytest.mark.parametrize("error", [ValueError("no"), Reject("no"), Ignore()])
def test_failed_rejected_or_ignored_link_ends_the_rest_of_the_chain(
    sent: list[Envelope], worker: Worker, error: Exception
) -> None:
    @task(name="ends")
    def ends() -> None:
        raise error

    result: Any = chain(ends.s(), group(add.s(1), add.s(2)), total.s(), add.s(1))()
    outcome = worker.run()
    found = [d.task_id for d in dependents(outcome)]
    header = result.parent.parent
    assert found == [*(member.id for member in header), result.parent.id, result.id]
    assert outcome.result is not None


def test_failure_names_the_group_that_counts_the_last_link(sent: list[Envelope], worker: Worker) -> None:
    result: Any = chord([boom.s() | add.si(1, 1)], total.s())()
    outcome = worker.run()
    assert dependents(outcome) == [Unreachable(result.parent[0].id, add.name, result.parent.id)]


def test_errbacks_of_both_styles_are_sent_with_the_failure(sent: list[Envelope], worker: Worker) -> None:
    heard: list[Any] = []

    @task(name="new_style")
    def new_style(request: Any, exc: BaseException, traceback: Any, extra: int = 0) -> None:
        heard.append((request.id, request.task, request.args, repr(exc), "ValueError" in traceback, extra))

    @task(name="old_style")
    def old_style(task_id: str) -> None: ...

    from taskq import signature

    result = boom.apply_async((1,), link_error=[new_style.s(9), old_style.s(), signature("not.known.here")])
    new, old, unknown = follow_ups(worker.run())
    assert heard == []
    assert (old.name, call_of(old)[0], old.headers["parent_id"]) == ("old_style", [result.id], result.id)
    assert (unknown.name, call_of(unknown)[0]) == ("not.known.here", [result.id])
    assert (new.name, new.headers["parent_id"], new.priority) == (errback_task.name, result.id, 9)
    assert worker.run(new).state == "SUCCESS"
    assert heard == [(result.id, boom.name, [1], "ValueError('boom')", True, 9)]


def test_errback_that_raises_is_logged_and_changes_no_outcome(
    sent: list[Envelope], worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    @task(name="bad_errback")
    def bad_errback(request: Any, exc: BaseException, traceback: Any) -> None:
        raise SystemExit(3)

    boom.apply_async(link_error=bad_errback.s())
    with caplog.at_level(logging.ERROR):
        outcome = worker.run()
        (called,) = follow_ups(outcome)
        assert worker.run(called).state == "SUCCESS"
    assert decode_exception(outcome.result).args == ("boom",)
    assert f"The errback bad_errback of {boom.name}[{outcome.task_id}] raised" in caplog.text


def test_errbacks_are_sent_for_the_final_failure_and_not_for_retries(sent: list[Envelope], worker: Worker) -> None:
    @task(name="counted")
    def counted(*args: Any) -> None: ...

    again.apply_async((1,), link_error=counted.s())
    outcome = worker.run()
    while outcome.state == "RETRY":
        (following,) = follow_ups(outcome)
        assert following.name == again.name
        outcome = worker.run(following)
    assert (outcome.state, [e.name for e in follow_ups(outcome)]) == ("FAILURE", [errback_task.name])


@task(name="tells")
def tells(request: Any, exc: BaseException, traceback: Any) -> None: ...


def errback_of(worker: Worker, failing: Any, *args: Any, **options: Any) -> Envelope:
    failing.apply_async(args, link_error=tells.s(), **options)
    (called,) = follow_ups(worker.run())
    return called


def test_errback_goes_to_its_tasks_queue_unless_routed_or_given_one(
    sent: list[Envelope], worker: Worker, settings: Any
) -> None:
    assert errback_of(worker, boom, queue="q").queue == "q"
    assert errback_of(worker, boom).queue == "taskq"
    settings.TASKQ_ROUTES = {"tells": {"queue": "errors", "priority": 2}}
    routed = errback_of(worker, boom, queue="q")
    assert (routed.queue, routed.priority) == ("errors", 2)
    boom.apply_async(link_error=tells.s().set(queue="mine", priority=0))
    (named,) = follow_ups(worker.run())
    assert (named.queue, named.priority) == ("mine", 0)


def test_errback_gets_arguments_as_sent_and_sensitive_ones_unshown(sent: list[Envelope], worker: Worker) -> None:
    @task(name="spoils", sensitive=("secret",))
    def spoils(given: list[Any], secret: str) -> None:
        given.append(object())
        raise ValueError("boom")

    called = errback_of(worker, spoils, [1], "hidden")
    assert call_of(called)[0][3] == [[1], "hidden"]
    assert "hidden" not in f"{called.arguments} {called.headers}"


def test_errback_message_drops_large_arguments_to_fit_the_traceback(
    sent: list[Envelope], worker: Worker, settings: Any
) -> None:
    settings.TASKQ_MAX_MESSAGE_SIZE = 4000
    called = errback_of(worker, boom, "x" * 3500)
    assert call_of(called)[0][3] == []
    assert "ValueError: boom" in call_of(called)[0][5]


def test_errback_message_uses_the_serializer_of_its_task(sent: list[Envelope], worker: Worker, settings: Any) -> None:
    settings.TASKQ_ACCEPT_CONTENT = ["json", "pickle"]
    called = errback_of(worker, boom, {1, 2}, serializer="pickle")
    assert call_of(called)[0][3] == [{1, 2}]


def test_expired_link_ends_the_rest_of_the_chain_without_errbacks(sent: list[Envelope], worker: Worker) -> None:
    result: Any = chain(add.si(1, 1).set(expires=-1, link_error=boom.s()), add.s(1))()
    outcome = worker.run()
    assert outcome.state == "REVOKED"
    assert [d.task_id for d in dependents(outcome)] == [result.id]
    assert list(outcome.follow_ups.envelopes) == []


def test_errback_task_calls_errback_with_request_rebuilt_from_its_message(sent: list[Envelope], worker: Worker) -> None:
    heard: list[Any] = []

    @task(name="hears")
    def hears(request: Any, exc: BaseException, traceback: Any) -> None:
        heard.append((request.id, request.args, request.retries, request.root_id, repr(exc), traceback))

    headers = {"task": add.name, "id": "x", "retries": 2, "root_id": "r"}
    error = '{"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"}'
    errback_task.delay(dict(hears.s()), headers, error, [1, 2], {})
    assert worker.run().state == "SUCCESS"
    assert heard == [("x", [1, 2], 2, "r", "KeyError('k')", None)]
