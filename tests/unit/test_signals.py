"""``taskq.signals``: receivers are called, and harm nothing."""

from __future__ import annotations

import functools
import gc
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.dispatch import Signal
from django.dispatch import receiver as dispatch_receiver

from taskq import signals


@pytest.fixture
def signal() -> signals.TaskqSignal:
    return signals.TaskqSignal()


def test_signals_have_the_names_of_celery() -> None:
    names = """before_task_publish after_task_publish task_received task_prerun task_postrun task_success task_retry
    task_failure task_revoked task_internal_error task_unknown task_rejected worker_init worker_ready
    worker_shutting_down worker_shutdown worker_before_create_process worker_process_init worker_process_shutdown
    setup_logging after_setup_logger after_setup_task_logger"""
    for name in names.split():
        assert isinstance(getattr(signals, name), Signal), name


def test_send_calls_receivers(signal: Signal) -> None:
    seen: list[Any] = []

    def receiver(sender: object, **named: Any) -> str:
        seen.append((sender, named["task_id"]))
        return "heard"

    signal.connect(receiver)
    assert signals.send(signal, "shop.add", task_id="1") == [(receiver, "heard")]
    assert seen == [("shop.add", "1")]


def test_send_without_receivers_does_nothing(signal: Signal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "send_robust", lambda *args, **named: pytest.fail("sent"))
    assert signals.send(signal, None) == []


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, logger="taskq"):
        taskq_logger = logging.getLogger("taskq")
        taskq_logger.addHandler(caplog.handler)  # it may not propagate
        yield caplog
        taskq_logger.removeHandler(caplog.handler)


def _broken(**named: Any) -> None:
    raise ZeroDivisionError("not my day")


class _Callable:
    def __call__(self, **named: Any) -> None:
        _broken()


@pytest.mark.parametrize(
    "receiver", [_broken, functools.partial(_broken), _Callable()], ids=["function", "partial", "object"]
)
def test_receiver_that_raises_is_logged_and_others_are_called(
    signal: Signal, log: pytest.LogCaptureFixture, receiver: Any
) -> None:
    heard = []

    def other(**named: Any) -> None:
        heard.append(named["sender"])

    signal.connect(receiver)
    signal.connect(other)
    answers = signals.send(signal, "x")
    assert isinstance(answers[0][1], ZeroDivisionError)
    assert heard == ["x"]
    assert any(record.name == "taskq" and "not my day" in record.getMessage() for record in log.records)


def test_sender_that_is_a_name_matches_by_its_text(signal: Signal) -> None:
    heard = []

    def receiver(**named: Any) -> None:
        heard.append(named["sender"])

    signal.connect(receiver, sender="".join(["shop.tasks", ".mail"]))
    signals.send(signal, "".join(["shop.", "tasks.mail"]))
    signals.send(signal, "shop.tasks.other")
    assert heard == ["shop.tasks.mail"]
    assert signal.disconnect(receiver, sender="".join(["shop.tasks.", "mail"]))
    assert not signal.disconnect(receiver, sender="shop.tasks.mail")


def test_send_with_an_unhashable_sender_does_not_raise(signal: Signal, log: pytest.LogCaptureFixture) -> None:
    def receiver(**named: Any) -> None: ...

    signal.connect(receiver)
    assert signals.send(signal, [], unhashable=1) in ([], [(receiver, None)])


# -- connecting


def test_connect_is_a_decorator_and_returns_the_receiver(signal: signals.TaskqSignal) -> None:
    @signal.connect
    def bare(**named: Any) -> str:
        return "bare"

    @signal.connect()
    def empty(**named: Any) -> str:
        return "empty"

    @signal.connect(sender="shop.add", weak=False, dispatch_uid="one")
    def of_sender(**named: Any) -> str:
        return "of sender"

    @signal.connect("shop.add")
    def of_name(**named: Any) -> str:
        return "of name"

    @dispatch_receiver(signal)
    def django(**named: Any) -> str:
        return "django"

    def called(**named: Any) -> str:
        return "called"

    assert signal.connect(called) is called
    assert [answer for _, answer in signals.send(signal, "other")] == ["bare", "empty", "django", "called"]
    assert len(signals.send(signal, "shop.add")) == 6
    assert (bare(), of_sender()) == ("bare", "of sender")


class Handler:
    def heard(self, **named: Any) -> None: ...

    def __call__(self, **named: Any) -> None: ...

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("of the user")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("receiver", "shown"),
    [
        (lambda: lambda **named: None, "<lambda>"),
        (lambda: Handler().heard, "Handler.heard"),
        (lambda: Handler(), "Handler"),
        (lambda: functools.partial(_broken), "partial"),
    ],
    ids=["lambda", "method", "object", "partial"],
)
def test_receiver_that_nobody_keeps_is_said(log: pytest.LogCaptureFixture, receiver: Any, shown: str) -> None:
    signals.task_prerun.connect(receiver())
    gc.collect()
    (text,) = {record.getMessage() for record in log.records if "task_prerun" in record.getMessage()}
    assert f"{shown} of the signal task_prerun is gone" in text
    assert "weak=False" in text


def test_receiver_of_a_function_that_has_returned_is_said(signal: Signal, log: pytest.LogCaptureFixture) -> None:
    def connect_one() -> None:
        @signal.connect
        def local(**named: Any) -> None: ...

    connect_one()
    gc.collect()
    assert "connect_one.<locals>.local" in log.text


def test_receiver_that_is_kept_or_was_disconnected_is_not_said(
    signal: signals.TaskqSignal, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(**named: Any) -> None: ...

    kept = Handler()
    signal.connect(lambda **named: None, weak=False)
    signal.connect(kept.heard)
    signal.connect(short)
    signal.disconnect(short)
    long_lived = Handler()
    now = time.monotonic()
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    signal.connect(long_lived.heard)
    monkeypatch.setattr(signals.time, "monotonic", lambda: now + 60)
    del short, long_lived
    gc.collect()
    assert not log.records
    assert len(signals.send(signal, None)) == 2
