"""What the main process calls for a task that failed with its process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Task, signals, task
from taskq.exceptions import TimeLimitExceeded
from taskq.worker import failure_handlers
from tests.support.fake_pool import Bench, claimed

HEARD: list[tuple[Any, ...]] = []


class Recording(Task[..., Any]):
    abstract = True

    def on_failure(self, exc: BaseException, task_id: str, *rest: Any) -> None:
        HEARD.append(("on_failure", type(exc)))
        raise SystemExit(1)

    def after_return(self, status: str, retval: Any, task_id: str, *rest: Any) -> None:
        HEARD.append(("after_return", status, type(retval)))
        raise ValueError("of the handler")


@task(name="failure_handlers.killed", base=Recording, time_limit=5)
def killed() -> None:
    raise AssertionError("never runs")


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, ...]]]:
    def failure(exception: BaseException, **_: Any) -> None:
        HEARD.append(("task_failure", type(exception)))

    def postrun(retval: Any, state: str, task: Any, **_: Any) -> None:
        HEARD.append(("task_postrun", state, type(retval), task.name))

    HEARD.clear()
    signals.task_failure.connect(failure)
    signals.task_postrun.connect(postrun)
    yield HEARD
    signals.task_failure.disconnect(failure)
    signals.task_postrun.disconnect(postrun)


def test_each_handler_and_signal_comes_though_the_one_before_raises(
    heard: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_handlers, "contained", lambda: BaseException)
    bench = Bench()
    bench.consumer.receive([claimed("failure_handlers.killed")])
    (request,) = bench.consumer._by_message.values()
    for call in failure_handlers._calls(request, TimeLimitExceeded(5)):
        failure_handlers._guarded(call, request)
    assert heard == [
        ("on_failure", TimeLimitExceeded),
        ("task_failure", TimeLimitExceeded),
        ("after_return", "FAILURE", TimeLimitExceeded),
        ("task_postrun", "FAILURE", TimeLimitExceeded, "failure_handlers.killed"),
    ]
