"""The stack of a running task as text, and the thread of a child that is asked for it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue

import pytest

from taskq.worker.pools import stack_texts
from taskq.worker.pools.stack_thread import QUESTION, StackThread
from tests.support.waiting import wait_until


def test_stack_of_a_recursion_is_cut_from_above() -> None:
    def dive(depth: int) -> str:
        if depth:
            return dive(depth - 1)
        return stack_texts.of_frame(sys._getframe())

    text = dive(300)
    assert text.startswith("  … more frames above\n")
    assert text.endswith("sys._getframe())\n")
    assert len(text) < stack_texts.MOST


def test_names_of_any_kind_are_shown_and_values_are_not() -> None:
    scope: dict[str, object] = {"of_frame": stack_texts.of_frame, "frame": sys._getframe}
    exec(compile("def hostile(secret):\n    return of_frame(frame())", "<\u202e" + "x" * 900, "exec"), scope)
    value = "my " + "secret"
    text = scope["hostile"](value)  # type: ignore[operator]
    assert "<\u202exxx" in text
    assert "my secret" not in text
    assert max(map(len, text.splitlines())) <= stack_texts.MOST_LINE


def test_coroutine_is_where_it_waits() -> None:
    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await inner()

    async def main() -> str:
        coroutine = outer()
        task = asyncio.ensure_future(coroutine)
        await asyncio.sleep(0)
        text = stack_texts.joined(stack_texts._text(stack_texts._awaited(coroutine), cut=False).splitlines(True))
        task.cancel()
        return text

    text = asyncio.run(main())
    assert [line.rpartition(" ")[2].strip() for line in text.splitlines() if "File " in line] == [
        "outer", "inner", "sleep",
    ]  # fmt: skip


@pytest.fixture
def answers() -> Queue[int]:
    return Queue()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def thread(pipe: tuple[int, int], answers: Queue[int]) -> Iterator[StackThread]:
    made = StackThread(*pipe, answers.put)
    made.start()
    yield made
    assert made.stop()


@pytest.fixture
def asked(thread: StackThread, pipe: tuple[int, int], answers: Queue[int]) -> tuple[int, Queue[int]]:
    """The pipe of a thread that answers, and what it was asked."""
    return pipe[1], answers


def test_thread_answers_and_gets_no_signals(asked: tuple[int, Queue[int]]) -> None:
    writer, answers = asked
    os.write(writer, QUESTION.pack(7))
    assert answers.get(timeout=60) == 7
    masks = [_blocked_signals(task) for task in os.listdir("/proc/self/task")]
    wanted = [1 << (number - 1) for number in (signal.SIGALRM, signal.SIGTERM)]
    assert any(all(mask & bit for bit in wanted) for mask in masks)


def _blocked_signals(thread: str) -> int:
    """Return the mask of a thread; of one that an earlier test has left, and that ends just now, an empty one."""
    with suppress(OSError):
        (line,) = re.findall(r"SigBlk:\s(\w+)", Path(f"/proc/self/task/{thread}/status").read_text())
        return int(line, 16)
    return 0


def test_a_fork_finds_no_other_thread(asked: tuple[int, Queue[int]]) -> None:
    writer, answers = asked
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Python 3.12 warns of a fork beside threads
        pid = os.fork()
    if not pid:
        # Not the number of threads: what earlier tests of this process have left may start some of its own.
        os._exit(sum(frame.f_code is StackThread._work.__code__ for frame in sys._current_frames().values()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.write(writer, QUESTION.pack(8))
    wait_until(lambda: not answers.empty(), what="an answer after the fork")
    assert answers.get() == 8


class Alarm(Exception):
    pass


@pytest.fixture
def alarms() -> Iterator[None]:
    """SIGALRM raises, as it does at a soft time limit."""

    def expire(number: int, frame: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, expire)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _same_mask() -> Iterator[None]:
    """Let no signal stay blocked for the tests that come after one that failed: their children would inherit that."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.usefixtures("alarms")
def test_signal_that_comes_during_the_hooks_of_a_fork_is_raised_behind_it(
    asked: tuple[int, Queue[int]], thread: StackThread
) -> None:
    thread._pause()
    # To this thread: another one, which an earlier test has left, would take what is sent to the process.
    signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
    thread._resume()
    with pytest.raises(Alarm):
        wait_until(lambda: False, what="the alarm")
    assert signal.SIGALRM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_fork_whose_first_hook_was_interrupted_leaves_the_thread_as_it_is(
    asked: tuple[int, Queue[int]], thread: StackThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> bool:
        raise Alarm

    thread._pause()
    thread._resume()
    with monkeypatch.context() as patch, pytest.raises(Alarm):
        patch.setattr(thread, "stop", interrupted)
        thread._pause()
    thread._resume()
    writer, answers = asked
    os.write(writer, QUESTION.pack(9))
    assert answers.get(timeout=60) == 9
    assert signal.SIGALRM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_forked_process_gets_signals(asked: tuple[int, Queue[int]]) -> None:
    if not (pid := os.fork()):
        os._exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
