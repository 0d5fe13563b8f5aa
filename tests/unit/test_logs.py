from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from taskq import logs, signals
from taskq.logs import (
    TaskFilter,
    WorkerFormatter,
    get_task_logger,
    label_handlers,
    log_to_file_of,
    setup_worker_logging,
    task_context,
)


class Recorder(logging.Handler):
    """Keep the records that come by."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def last(self) -> Any:
        record = self.records[-1]
        return record.__dict__["task_id"], record.__dict__["task_name"]


@contextmanager
def bare_root() -> Iterator[None]:
    """Take pytest's handlers from the root logger: a worker whose project has no LOGGING. To decorate a test with.

    A fixture can't do that, because pytest adds handlers anew for each phase of a test.
    """
    before, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers[:] = [handler for handler in before if isinstance(handler, Recorder)]
    try:
        yield
    finally:
        logging.root.handlers[:] = before
        logging.root.setLevel(level)


@pytest.fixture
def taskq_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("taskq")
    level, handlers = logger.level, logger.handlers[:]
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture
def recorder(taskq_logger: logging.Logger) -> Iterator[Recorder]:
    """Return a handler of the application's, on the root logger."""
    taskq_logger.setLevel(logging.INFO)
    handler = Recorder()
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)


# -- the task in the records


def test_a_task_logger_is_below_taskq_task() -> None:
    logger = get_task_logger("shop.tasks")
    assert logger is get_task_logger("shop.tasks") is logging.getLogger("taskq.task.shop.tasks")
    assert get_task_logger("taskq.task") is logging.getLogger("taskq.task")
    assert get_task_logger(logger.name) is logger
    assert sum(isinstance(known, TaskFilter) for known in logger.filters) == 1


def test_records_of_a_task_logger_carry_the_task_for_any_handler(recorder: Recorder) -> None:
    logger = get_task_logger("shop.tasks")
    with task_context("id-1", "shop.tasks.mail"):
        logger.info("sent")
    assert recorder.last == ("id-1", "shop.tasks.mail")
    logger.info("outside")
    assert recorder.last == (None, None)


def test_task_contexts_nest_and_end_with_an_exception(recorder: Recorder) -> None:
    logger = get_task_logger("shop.tasks")

    def fail() -> None:
        with task_context("inner", "b"):
            raise RuntimeError

    with task_context("outer", "a"):
        with pytest.raises(RuntimeError):
            fail()
        logger.info("after")
    assert recorder.last == ("outer", "a")


def test_threads_have_their_own_task(recorder: Recorder) -> None:
    logger = get_task_logger("shop.tasks")
    with task_context("here", "a"):
        thread = threading.Thread(target=logger.info, args=("other thread",))
        thread.start()
        thread.join()
        assert recorder.last == (None, None)


def test_labelled_handlers_label_records_of_all_loggers(recorder: Recorder) -> None:
    label_handlers()
    with task_context("id-1", "shop.tasks.mail"):
        logging.getLogger("django.db").error("slow")
    assert recorder.last == ("id-1", "shop.tasks.mail")


def test_task_id_given_by_the_application_is_kept(recorder: Recorder) -> None:
    """A record factory would make this an error: "Attempt to overwrite 'task_id' in LogRecord"."""
    label_handlers()
    with task_context("id-1", "shop.tasks.mail"):
        logging.getLogger("shop").error("mine", extra={"task_id": "of the shop"})
    assert recorder.last == ("of the shop", "shop.tasks.mail")


def test_labelling_handlers_twice_adds_one_filter_in_front(recorder: Recorder) -> None:
    theirs = logging.Filter("shop")
    recorder.addFilter(theirs)
    label_handlers()
    label_handlers()
    assert [type(known) for known in recorder.filters] == [TaskFilter, logging.Filter]


# -- the worker's set-up


def text_of(logger: logging.Logger) -> io.StringIO:
    """Let the logger's one handler write to memory."""
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    return_to = io.StringIO()
    handler.setStream(return_to)
    return return_to


@bare_root()
def test_without_logging_settings_the_worker_gets_a_handler(taskq_logger: logging.Logger) -> None:
    factory = logging.getLogRecordFactory()
    setup_worker_logging("info")
    out = text_of(taskq_logger)
    logging.getLogger("taskq.worker").info("ready")
    assert out.getvalue().endswith(": INFO/MainProcess] ready\n")
    assert out.getvalue().startswith("[")
    assert out.getvalue().count("\n") == 1
    assert logging.getLogRecordFactory() is factory


@bare_root()
def test_plain_loggers_are_shown_with_their_task(taskq_logger: logging.Logger) -> None:
    with override_settings(TASKQ_TASK_LOG_FORMAT="%(task_name)s[%(task_id)s]: %(message)s"):
        setup_worker_logging("info")
    out = text_of(taskq_logger)
    logger = logging.getLogger("shop.tasks")
    with task_context("id-1", "shop.tasks.mail"):
        logger.info("sent")
        logging.info("by the root")
        logger.debug("not said")
    logger.info("outside")
    first, second, third = out.getvalue().splitlines()
    assert (first, second) == ("shop.tasks.mail[id-1]: sent", "shop.tasks.mail[id-1]: by the root")
    assert third.endswith("INFO/MainProcess] outside")


@pytest.mark.parametrize(("handler", "seen"), [(Recorder, 0), (logging.NullHandler, 1)], ids=["own", "null"])
@bare_root()
def test_plain_logger_with_a_handler_of_its_own_is_not_written_twice(
    handler: type[logging.Handler], seen: int, taskq_logger: logging.Logger
) -> None:
    """``NullHandler`` is what libraries have."""
    setup_worker_logging("info")
    out = text_of(taskq_logger)
    library = logging.getLogger("library_of_a_test")
    theirs = handler()
    library.addHandler(theirs)
    logging.getLogger("library_of_a_test.part").warning("said")
    library.removeHandler(theirs)
    assert out.getvalue().count("said") == seen


@bare_root()
def test_setting_up_again_leaves_one_way_for_plain_loggers(taskq_logger: logging.Logger, tmp_path: Path) -> None:
    setup_worker_logging("info")
    setup_worker_logging("info", str(tmp_path / "worker.log"))
    logging.getLogger("shop.tasks").info("said")
    assert (tmp_path / "worker.log").read_text().count("said") == 1


@bare_root()
def test_task_records_have_a_format_of_their_own(taskq_logger: logging.Logger) -> None:
    with override_settings(
        TASKQ_TASK_LOG_FORMAT="%(task_name)s[%(task_id)s]: %(message)s", TASKQ_WORKER_LOG_FORMAT="W %(message)s"
    ):
        setup_worker_logging("info")
    out = text_of(taskq_logger)
    with task_context("id-1", "shop.tasks.mail"):
        get_task_logger("shop.tasks").info("sent")
        logging.getLogger("taskq.worker").info("sent too")
    get_task_logger("shop.tasks").info("imported")
    assert out.getvalue().splitlines() == ["shop.tasks.mail[id-1]: sent", "W sent too", "W imported"]


@bare_root()
def test_log_level_is_warning_unless_the_command_says_otherwise(taskq_logger: logging.Logger) -> None:
    setup_worker_logging()
    assert taskq_logger.level == logging.WARNING
    setup_worker_logging("debug")
    assert taskq_logger.level == logging.DEBUG
    setup_worker_logging(logging.ERROR)
    assert taskq_logger.level == logging.ERROR


@bare_root()
def test_setting_up_logging_again_replaces_the_handler(taskq_logger: logging.Logger, tmp_path: Path) -> None:
    setup_worker_logging("info")
    setup_worker_logging("info", str(tmp_path / "worker.log"))
    (handler,) = taskq_logger.handlers
    assert isinstance(handler, WatchedFileHandler)


@pytest.mark.parametrize("owner", ["taskq", ""])
@bare_root()
def test_existing_handlers_of_taskq_or_root_are_kept_alone(owner: str, taskq_logger: logging.Logger) -> None:
    theirs = Recorder()
    logging.getLogger(owner).addHandler(theirs)  # bare_root and taskq_logger take it away again
    taskq_logger.setLevel(logging.NOTSET)
    before = taskq_logger.handlers[:]
    setup_worker_logging()
    assert taskq_logger.handlers == before
    assert taskq_logger.level == logging.NOTSET
    logging.getLogger("taskq.worker").warning("seen once")
    assert len(theirs.records) == 1


@pytest.mark.parametrize(
    "config", [{"root": {"level": "INFO"}}, {"loggers": {"": {}}}, {"loggers": {"taskq": {"handlers": []}}}]
)
@bare_root()
def test_logger_named_in_LOGGING_gets_no_other_handler(config: dict[str, object], taskq_logger: logging.Logger) -> None:
    with override_settings(LOGGING_CONFIG=None, LOGGING=config):
        setup_worker_logging()
    assert taskq_logger.handlers == []


@bare_root()
def test_LOGGING_for_other_loggers_leaves_the_worker_its_handler(taskq_logger: logging.Logger) -> None:
    with override_settings(LOGGING_CONFIG=None, LOGGING={"loggers": {"django": {"level": "INFO"}}}):
        setup_worker_logging()
    assert len(taskq_logger.handlers) == 1


@bare_root()
def test_level_and_file_of_the_command_line_hold_beside_LOGGING(taskq_logger: logging.Logger, tmp_path: Path) -> None:
    theirs = Recorder()
    logging.root.addHandler(theirs)
    level = logging.root.level
    setup_worker_logging("info", str(tmp_path / "worker.log"))
    assert (logging.root.handlers, logging.root.level) == ([theirs], level)
    logging.getLogger("taskq.worker").info("ready")
    assert "ready" in (tmp_path / "worker.log").read_text()
    assert len(theirs.records) == 1


def said(path: Path) -> list[str]:
    """Return the last word of each line."""
    return [line.split()[-1] for line in path.read_text().splitlines()]


@bare_root()
def test_each_pool_process_may_have_its_own_log_file(taskq_logger: logging.Logger, tmp_path: Path) -> None:
    setup_worker_logging("info", str(tmp_path / "w.log"), file_of=lambda n: str(tmp_path / f"w-{n}.log"))
    taskq_logger.info("main")
    log_to_file_of(2)
    with task_context("id-1", "shop.tasks.mail"):
        get_task_logger("shop.tasks").info("sent")
    assert said(tmp_path / "w.log") == ["main"]
    assert said(tmp_path / "w-2.log") == ["sent"]
    assert "shop.tasks.mail[id-1]: sent" in (tmp_path / "w-2.log").read_text()


@bare_root()
def test_pool_process_whose_log_file_can_not_be_opened_uses_the_shared_one(
    taskq_logger: logging.Logger, tmp_path: Path
) -> None:
    setup_worker_logging("info", str(tmp_path / "w.log"), file_of=lambda n: str(tmp_path / "no" / f"w-{n}.log"))
    log_to_file_of(1)
    taskq_logger.info("both")
    assert "Process 1 of the pool has no log file of its own" in (tmp_path / "w.log").read_text()
    assert said(tmp_path / "w.log")[-1] == "both"


@bare_root()
def test_pool_processes_share_one_log_file_by_default(taskq_logger: logging.Logger, tmp_path: Path) -> None:
    setup_worker_logging("info", str(tmp_path / "w.log"))
    before = taskq_logger.handlers[:]
    log_to_file_of(1)
    assert taskq_logger.handlers == before


@bare_root()
def test_log_descriptor_follows_a_rotated_file(taskq_logger: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "w.log"
    setup_worker_logging("info")
    assert logs.log_descriptor() is None
    setup_worker_logging("info", str(path))
    descriptor = logs.log_descriptor()
    assert descriptor is not None
    os.write(descriptor, b"stacks\n")
    path.rename(tmp_path / "w.log.1")
    taskq_logger.info("more")
    assert logs.log_descriptor() == descriptor
    os.write(descriptor, b"stacks again\n")
    assert said(tmp_path / "w.log.1") == ["stacks"]
    assert said(path) == ["more", "again"]


@pytest.mark.parametrize(("level", "code"), [(logging.ERROR, "31"), (logging.WARNING, "33"), (logging.INFO, None)])
def test_log_lines_are_colored_by_level(level: int, code: str | None) -> None:
    record = logging.LogRecord("taskq.worker", level, "", 0, "text", None, None)
    with override_settings(TASKQ_WORKER_LOG_FORMAT="%(message)s"):
        assert WorkerFormatter(color=True).format(record) == (f"\x1b[{code}mtext\x1b[0m" if code else "text")
        assert WorkerFormatter().format(record) == "text"


def test_no_task_context_outside_of_a_task() -> None:
    assert logs._current.get() is None


# -- signals


@bare_root()
def test_receiver_of_setup_logging_replaces_the_workers_handlers(taskq_logger: logging.Logger) -> None:
    said: list[dict[str, object]] = []
    theirs = Recorder()

    def receiver(signal: object, sender: object, **arguments: object) -> None:
        said.append(arguments)
        logging.root.addHandler(theirs)  # bare_root takes it away again

    signals.setup_logging.connect(receiver)
    try:
        setup_worker_logging("info", "worker.log", color=True)
    finally:
        signals.setup_logging.disconnect(receiver)
    assert [(a["loglevel"], a["logfile"], a["colorize"]) for a in said] == [(logging.INFO, "worker.log", True)]
    assert taskq_logger.handlers == []
    # Labelled all the same: its format may name the task.
    assert any(isinstance(label, TaskFilter) for label in theirs.filters)


@bare_root()
def test_after_setup_logger_signals_give_logger_and_format(taskq_logger: logging.Logger) -> None:
    said: dict[str, object] = {}

    def receiver(signal: object, sender: object, logger: logging.Logger, **arguments: object) -> None:
        said[logger.name] = arguments["format"]

    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(receiver)
    try:
        with override_settings(TASKQ_WORKER_LOG_FORMAT="%(msg)s", TASKQ_TASK_LOG_FORMAT="%(name)s"):
            setup_worker_logging()
    finally:
        for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
            signal.disconnect(receiver)
    assert said == {"taskq": "%(msg)s", "taskq.task": "%(name)s"}
