"""What strangers may ask a worker for: little, however much they ask."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import Task, register
from taskq.calls.registry import tasks
from taskq.control.commands.inspection import query_task, registered
from taskq.control.commands.queues import add_consumer

NAME = "tests.inspected"


class Inspected(Task):  # type: ignore[type-arg]
    name = NAME
    api_token = "open sesame"
    rate_limit = "10/m"
    serializer = "json"
    retry_kwargs = {"headers": {"password": "open sesame"}}
    throws = (KeyError,) * 100

    def run(self) -> None: ...


@pytest.fixture(autouse=True)
def _inspected() -> Iterator[None]:
    register(Inspected)
    yield
    tasks.remove(NAME)


def of_the_task(*items: Any) -> str:
    (found,) = [each for each in registered(None, taskinfoitems=items) if each.startswith(NAME)]  # type: ignore[arg-type]
    return found


def test_each_option_is_shown_once() -> None:
    assert of_the_task() == f"{NAME} [rate_limit=10/m]"
    assert of_the_task("exchange", "routing_key", "rate_limit") == f"{NAME} [rate_limit=10/m]"
    assert of_the_task(*["serializer"] * 175_000) == f"{NAME} [serializer=json]"


def test_nothing_else_is_shown() -> None:
    assert of_the_task("run", "api_token", "__dict__", "on_failure", "no such", 5) == NAME
    assert "open sesame" not in of_the_task("retry_kwargs")
    assert len(of_the_task("throws")) < 300


def test_a_long_reply_goes_on_with_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.control.commands.inspection._MOST_REPLY", 0)
    assert of_the_task("serializer") == NAME


def test_one_command_finds_a_limited_number_of_tasks() -> None:
    nothing: Any = SimpleNamespace(reserved=list, running=list)
    with pytest.raises(ValueError, match="at most 500 tasks, not 501"):
        query_task(nothing, ids=[str(number) for number in range(501)])


def test_a_worker_reads_as_many_queues_as_its_row_has_space_for() -> None:
    def on_store(call: Any, **_: Any) -> Any:
        return call()

    options: Any = SimpleNamespace(queues=[])
    changes = SimpleNamespace(add_queue=options.queues.append)
    state: Any = SimpleNamespace(node=SimpleNamespace(options=options, changes=changes), on_store=on_store)
    add_consumer(state, "q" * 200)
    options.queues *= 78
    with pytest.raises(ValueError, match="reads 78 queues"):
        add_consumer(state, "another" * 20)
    add_consumer(state, "q" * 200)
