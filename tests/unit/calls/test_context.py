from __future__ import annotations

import threading
from contextvars import copy_context
from typing import Any

import pytest

from taskq import current_task, task
from taskq.calls.context import Context, running
from taskq.records import Envelope
from tests.unit.tasks.fixtures import Worker


@task(bind=True)
def look(self: Any) -> dict[str, Any]:
    request = self.request
    names = (
        *("id", "name", "root_id", "parent_id", "group", "group_id", "group_index", "retries", "args", "kwargs"),
        *("is_eager", "called_directly", "hostname", "delivery_info", "headers", "shadow", "eta", "expires"),
        *("timelimit", "time_limit", "soft_time_limit", "correlation_id", "ignore_result", "origin", "utc"),
        *("argsrepr", "kwargsrepr", "callbacks", "errbacks", "chain", "chord", "replaced_task_nesting"),
        *("stamped_headers", "stamps", "reply_to", "properties", "task", "definition", "logfile", "loglevel"),
    )
    return {name: getattr(request, name) for name in names}


@task(bind=True)
def inner(self: Any) -> tuple[bool, Any]:
    return self.request.called_directly, self.request.id


@task(bind=True)
def outer(self: Any) -> list[Any]:
    return [inner(), self.request.called_directly, self.request.id, current_task.name]


def define(function: Any) -> Any:
    return task(name="spy", bind=True)(function)


def test_request_has_all_fields_of_the_running_message(sent: list[Envelope], worker: Worker) -> None:
    seen: dict[str, Any] = {}
    spy = define(lambda self, *a, **k: seen.update(look.run.__func__(self)))  # type: ignore[attr-defined]
    spy.apply_async(
        (1,), {"k": 2}, headers={"tenant": "a"}, priority=4, shadow="s", group_id="g", group_index=1, parent_id="p",
        root_id="r", expires=60, time_limit=9, retries=1,
    )  # fmt: skip
    assert worker.run(redelivered=True).state == "SUCCESS"
    envelope = sent[0]
    assert seen["id"] == seen["correlation_id"] == envelope.task_id
    assert (seen["name"], seen["task"], seen["definition"]) == ("spy", "spy", spy)
    assert (seen["logfile"], seen["loglevel"]) == (None, None)
    assert (seen["root_id"], seen["parent_id"]) == ("r", "p")
    assert (seen["group"], seen["group_id"], seen["group_index"]) == ("g", "g", 1)
    assert (seen["args"], seen["kwargs"], seen["retries"]) == ([1], {"k": 2}, 1)
    assert (seen["is_eager"], seen["called_directly"], seen["hostname"]) == (False, False, "w1@host")
    assert seen["delivery_info"] == {"exchange": "", "routing_key": "taskq", "priority": 4, "redelivered": True}
    assert seen["headers"] == {"tenant": "a"}
    assert seen["shadow"] == "s"
    assert seen["eta"] is None
    assert seen["expires"] == envelope.headers["expires"]
    assert (seen["timelimit"], seen["time_limit"], seen["soft_time_limit"]) == ([9, None], 9, None)
    assert (seen["argsrepr"], seen["kwargsrepr"]) == ("(1,)", "{'k': 2}")
    assert (seen["callbacks"], seen["errbacks"], seen["chain"], seen["chord"]) == (None, None, None, None)
    assert (seen["stamped_headers"], seen["stamps"], seen["replaced_task_nesting"]) == (None, {}, 0)
    assert seen["ignore_result"] is False
    assert seen["reply_to"]


def test_request_outside_of_a_run_is_empty() -> None:
    assert look.request.id is None
    assert look.request.called_directly
    assert look.request.task == look.name
    assert look()["headers"] is None
    assert look.request.get("id", 3) is None
    assert look.request.get("no_such", 3) == 3
    with pytest.raises(AttributeError):
        look.request.no_such  # type: ignore[attr-defined]  # noqa: B018


def test_direct_call_within_a_run_has_its_own_request(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []
    spy = define(lambda self: seen.extend(outer.run.__func__(self)))  # type: ignore[attr-defined]
    spy.delay()
    worker.run()
    assert seen == [(True, None), False, sent[0].task_id, "spy"]


def test_current_task_is_the_called_task_and_falsy_outside() -> None:
    assert not current_task
    assert repr(current_task) == "None"
    with pytest.raises(AttributeError, match="No task is running here"):
        current_task.name  # noqa: B018

    @task
    def who() -> Any:
        return current_task == who, bool(current_task), hash(current_task) == hash(who), repr(current_task)

    assert who() == (True, True, True, repr(who))


def test_running_request_is_seen_in_copied_contexts_and_not_in_threads(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []

    @task
    def start() -> None:
        here = running()
        assert here is not None
        thread = threading.Thread(target=lambda: seen.append(running()))
        thread.start()
        thread.join()
        seen.append(copy_context().run(running) is here)

    start.delay()
    assert worker.run().state == "SUCCESS"
    assert seen == [None, True]
    assert running() is None


def test_repr_of_a_context_has_name_and_id() -> None:
    assert repr(Context(look, id="a")) == f"<Context: {look.name}[a]>"
