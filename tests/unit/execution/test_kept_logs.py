"""What runs log, while ``TASKQ_KEEP_TASK_LOGS`` is on: the reports that a pool would get."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from taskq import containment, get_task_logger, task
from taskq.exceptions import SoftTimeLimitExceeded, TaskTerminated
from taskq.execution import isolation, kept_logs
from taskq.execution.coroutines import CoroutineRun
from taskq.execution.interrupts import CutShort
from taskq.forks import forks
from taskq.handover import LOGGED, Report
from taskq.messages import protocol
from taskq.worker.pools.child_threads import Lease, Threads
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

from .test_coroutines import message

__all__ = ["registry", "sent", "worker"]

in_task = get_task_logger("tests.kept")
own = logging.getLogger("tests.kept.own")


@pytest.fixture(autouse=True)
def keeping() -> Iterator[None]:
    loggers = (in_task, own, logging.getLogger("taskq.worker"))
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    with override_settings(TASKQ_KEEP_TASK_LOGS=True):
        kept_logs.start()
        yield
        kept_logs.stop()
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def lines(reports: list[Report]) -> list[Any]:
    return [line for report in reports if report.event == LOGGED for line in json.loads(report.meta or "")]


def texts(reports: list[Report]) -> list[Any]:
    return [line if isinstance(line, int) else line[3] for line in lines(reports)]


def test_lines_of_tasks_and_of_their_app_are_reported_with_the_start_of_the_run(worker: Worker) -> None:
    @task
    def mail() -> None:
        in_task.info("to %s", "ann")
        own.warning("slow")
        in_task.debug("not kept")
        logging.getLogger("taskq.worker").error("of the worker")

    mail.delay()
    outcome = worker.run()
    assert [line[1:] for line in lines(worker.reports)] == [
        [logging.INFO, "taskq.task.tests.kept", "to ann"],
        [logging.WARNING, "tests.kept.own", "slow"],
    ]
    assert {report.at for report in worker.reports} == {outcome.started}
    own.error("outside")
    assert len(lines(worker.reports)) == 2


def test_off_nothing_of_it_is_called_for_a_task(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def mail() -> None:
        in_task.info("sent")

    with override_settings(TASKQ_KEEP_TASK_LOGS=False):
        kept_logs.start()
    for name, part in vars(kept_logs).items():
        if getattr(part, "__module__", "") == kept_logs.__name__ and callable(part):
            monkeypatch.setattr(kept_logs, name, None)
    mail.delay()
    assert worker.run().state == "SUCCESS"
    monkeypatch.undo()
    assert worker.reports == []


def test_an_exception_is_kept_with_its_traceback_and_what_no_database_takes_is_escaped(worker: Worker) -> None:
    @task
    def fail() -> None:
        try:
            raise LookupError("no \0 such \ud800 thing")
        except LookupError:
            own.exception("bad \0")
        own.info("x" * 100_000)

    fail.delay()
    assert worker.run().state == "SUCCESS"
    first, long = texts(worker.reports)
    assert first.startswith("bad \0\nTraceback")
    assert first.endswith("LookupError: no \0 such \ud800 thing")
    assert len(long) == kept_logs.LONGEST + 1
    assert not any("\0" in (report.meta or "").encode().decode() for report in worker.reports)


def test_a_record_whose_text_cannot_be_made_harms_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    def mail() -> None:
        own.info("%d", "no number")
        own.info("sent")

    # Without the handlers of the tests, which raise.
    monkeypatch.setattr(own, "propagate", False)
    kept_logs.start()
    mail.delay()
    assert worker.run().state == "SUCCESS"
    assert texts(worker.reports) == ["sent"]
    assert "Logging error" in capsys.readouterr().err


def test_of_many_lines_the_first_and_the_last_are_kept_in_few_reports(worker: Worker) -> None:
    @task
    def chatter() -> None:
        for number in range(5000):
            own.info("%d", number)

    chatter.delay()
    worker.run()
    kept = texts(worker.reports)
    # The lines are short, so their number decides. Characters do in the next test.
    assert [*map(str, range(500)), 4000, *map(str, range(4500, 5000))] == kept
    assert len(worker.reports) < 40


def test_of_long_lines_so_many_characters_are_kept(worker: Worker) -> None:
    @task
    def chatter() -> None:
        for number in range(200):
            own.info("%d %s", number, "é" * 500)

    chatter.delay()
    worker.run()
    kept = texts(worker.reports)
    assert sum(len(report.meta or "") for report in worker.reports) < kept_logs.MOST * 1.01
    assert kept[0].startswith("0 ")
    assert kept[-1].startswith("199 ")
    (left_out,) = [each for each in kept if isinstance(each, int)]
    assert left_out == 201 - len(kept)


@pytest.mark.parametrize("letter", ["\u0436", "\x1b", "\ud800"], ids=["cyrillic", "control", "surrogate"])
def test_long_line_of_any_letters_is_kept(worker: Worker, letter: str) -> None:
    @task
    def chatter() -> None:
        own.info(letter * 8000)
        own.info("after")

    chatter.delay()
    worker.run()
    long, after = texts(worker.reports)
    assert after == "after"
    assert long.startswith(letter * 2000)
    assert len(long) == 8000 or letter != "\u0436"


def test_number_of_lines_left_out_stands_where_they_were(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_logs, "MOST", 400)

    @task
    def chatter() -> None:
        own.info("first")
        own.info("x" * 1000)
        own.info("last")

    chatter.delay()
    worker.run()
    assert texts(worker.reports) == ["first", 1, "last"]


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, TaskTerminated, CutShort])
def test_what_ends_a_task_passes_through_its_log(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    class Value:
        def __str__(self) -> str:
            raise error

    # As in a child, which lets no other exception pass.
    monkeypatch.setattr(containment, "_contained", BaseException)
    run: Any = SimpleNamespace(forks=forks())
    with kept_logs.kept(run), pytest.raises(error):
        kept_logs._keeper.handle(logging.LogRecord("tests", logging.INFO, "", 0, "%s", (Value(),), None))


def test_the_first_lines_are_reported_before_the_run_ends(worker: Worker) -> None:
    @task
    def slow() -> int:
        own.info("first")
        return len(worker.reports)

    slow.delay()
    assert json.loads(worker.run().result or "") == 1


def test_coroutines_that_run_together_keep_logs_of_their_own() -> None:
    @task
    async def mail(to: str) -> None:
        own.info("begins %s", to)
        await asyncio.sleep(0)
        await asyncio.to_thread(own.info, "ends %s", to)

    async def both() -> None:
        loop = asyncio.get_running_loop()
        threads = Threads(2)
        runs = [CoroutineRun(message(mail.name, to), reports[to].append, Lease(threads)) for to in reports]
        await asyncio.gather(*(loop.create_task(run.execute(), context=isolation.Seat().context()) for run in runs))

    reports: dict[str, list[Report]] = {"ann": [], "bob": []}
    asyncio.run(both())
    assert {to: texts(found) for to, found in reports.items()} == {
        "ann": ["begins ann", "ends ann"],
        "bob": ["begins bob", "ends bob"],
    }


def test_a_message_that_is_refused_leaves_no_log(worker: Worker) -> None:
    envelope = protocol.build(name="tests.unknown", args=(), kwargs={}, queue="", serializer="json")
    assert worker.run(envelope).state == "FAILURE"
    assert worker.reports == []
