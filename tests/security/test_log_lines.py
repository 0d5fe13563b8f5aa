"""Lines of the log hold no newline, escape sequence or direction mark of a message, under any ``LOGGING``."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import taskq
import taskq_admin
from taskq import log_escapes, task
from taskq.exceptions import Retry
from taskq.hooks import Hook
from taskq.log_escapes import escaped, get_logger
from taskq.logs import TaskFilter, get_task_logger, task_context
from taskq.models import Message
from taskq.records import Settlement
from taskq.store import log_lines as store_lines
from taskq.worker import log_lines
from tests.support.worker_here import WorkerHere

#: A forged line, a screen that is cleared, text that runs backwards, a separator, and half of a pair.
BAD = "x\n2026-11-28 CRITICAL forged\r\x1b[2J\x9b1m\u202egnp\u2066\u2028\u200e\x00\ud800"
#: The characters that a line may not hold as such. A line ends by one newline, which is not of its text.
FORBIDDEN = set(BAD) - set("x2026-11-28 CRITICAL forged[2J1mgnp")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Return what a handler of the project writes, with a format of its own."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(TaskFilter())
    handler.setFormatter(logging.Formatter("%(task_id)s %(task_name)s | %(message)s"))
    logger = logging.getLogger("taskq")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def _check(text: str, layout: str = "") -> None:
    assert text
    assert FORBIDDEN.isdisjoint(set(text) - set(layout)), repr(text)


class _Request:
    id, name, time_limit = BAD, BAD, 1.0


def _settlement() -> Settlement:
    return Settlement(1, BAD, BAD, name=BAD, queue=BAD)


@pytest.mark.parametrize(
    "say",
    [
        lambda: log_lines.task_revoked(_Request(), BAD, ""),
        lambda: log_lines.task_lost(_Request(), BAD),
        lambda: log_lines.task_not_registered(_Request()),
        lambda: log_lines.worker_ready(BAD),
        lambda: log_lines.peer_recovered(BAD, 1, 1),
        lambda: log_lines.lease_lost(BAD),
        lambda: log_lines.database_failed(ValueError(BAD), 1, False),
        lambda: log_lines.ends_unwritten(1, [_settlement()]),
        lambda: log_lines.settlement_dropped(_settlement(), BAD),
        lambda: store_lines.settlement_refused(_settlement(), ValueError(BAD)),
        lambda: store_lines.broadcast_unread(BAD, BAD),
    ],
)
def test_a_line_is_one_line_whatever_it_names(written: io.StringIO, say: Any) -> None:
    say()
    line = written.getvalue()
    assert line.count("\n") == 1
    _check(line.rstrip("\n"))


def test_all_loggers_escape() -> None:
    own = [path for package in (taskq, taskq_admin) for path in Path(package.__path__[0]).rglob("*.py")]
    assert len(own) > 100
    # ``log_escapes`` makes them, ``logs`` configures them and has those of the project's tasks.
    assert {path.name for path in own if "getLogger(" in path.read_text()} == {"log_escapes.py", "logs.py"}


@task(name="shop\nforged\u202e")
def shout(how: str) -> str:
    if how == "retry":
        raise Retry(message=BAD, when=0)
    if how == "fail":
        raise ValueError(BAD) from type(f"E\x1b{BAD[:10]}", (Exception,), {})(BAD)
    get_task_logger("shop").warning("said")
    return BAD


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_messages_from_outside_write_no_line_of_their_own(alias: str, written: io.StringIO) -> None:
    for how in ("say", "retry", "fail"):
        shout.apply_async((how,), task_id=f"id\n{how}\x1b[0m")
    for name in ("lost\nforged\x1b[2J", "x\u202e"):
        shout.apply_async(("say",), headers={"own": BAD[:-1]})
        message = Message.objects.using(alias).order_by("id").last()
        assert message is not None
        headers = json.loads(message.headers) | {"task": name}
        message.headers = json.dumps(headers, ensure_ascii=False).replace('"retries": 0', '"retries": "x"', name == "x")
        message.save(using=alias)
    text = {"headers": BAD[:-2], "body": BAD[:-2], "properties": "{}"}
    Message.objects.using(alias).create(queue="taskq", created_at=datetime.now(UTC), **text)
    WorkerHere(alias).work()
    log = written.getvalue()
    for said in ("succeeded", "retry", "raised unexpected", "said", "rejected", "not registered"):
        assert said in log
    _check(log, "\n\t")
    assert "\nforged" not in log
    # The traceback of a failure keeps its lines, and each is indented.
    assert "\n  Traceback (most recent call last):\n" in log
    assert "\n  2026-11-28 CRITICAL forged\\r\\x1b[2J" in log
    assert "\n2026" not in log


def test_other_records_stay_as_they_are() -> None:
    seen: list[logging.LogRecord] = []
    logger = get_logger("taskq.of_a_test")
    assert get_logger("taskq.of_a_test").filters == [log_escapes._escape]
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[assignment, method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        raise ValueError("plain\ttext\u3000é")
    except ValueError:
        logger.exception("%s and %s", "Zoë\u3000\xa0", 5)
    logger.warning("%s%d", "wrong")
    assert (seen[0].msg, seen[0].args, seen[0].exc_text) == ("%s and %s", ("Zoë\u3000\xa0", 5), None)
    assert seen[1].args == ("wrong",)


def test_task_of_a_record_is_escaped() -> None:
    record = logging.LogRecord("shop", logging.INFO, "", 1, "said", None, None)
    with task_context(BAD, BAD):
        TaskFilter().filter(record)
    _check(record.task_id)  # type: ignore[attr-defined]
    _check(record.task_name)  # type: ignore[attr-defined]
    assert record.task_id == record.task_name == escaped(BAD)  # type: ignore[attr-defined]


def test_escaped_text_can_be_read_and_written() -> None:
    assert escaped("a\nb\x1b[0m\u202e\ud800é") == "a\\nb\\x1b[0m\\u202e\\ud800é"
    assert escaped("a\n\tb\r", "\n\t") == "a\n\tb\\r"
    escaped(BAD).encode()


def test_exception_whose_text_raises_is_logged(written: io.StringIO) -> None:
    class Worse(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    Hook[BaseException](lambda error: log_lines.log.error("It failed.", exc_info=error))(Worse())
    assert written.getvalue().startswith("None None | It failed.\n")
