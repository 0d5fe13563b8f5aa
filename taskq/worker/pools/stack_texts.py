"""Where a running task is: its stack as text, read by another thread of its process. Values of variables are not shown.

Reading stops nothing: the interpreter lets this thread look between two steps of the other one. What a task has called
in C shows as the line that called it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import attrgetter
from types import FrameType
from typing import Any

from taskq.execution.call import loops
from taskq.execution.interrupts import Interruptible

#: The most frames of one stack, characters of a line, stacks of one task, and characters of all.
MOST_FRAMES, MOST_LINE, MOST_STACKS, MOST = 100, 300, 20, 32_000
#: The modules that call a task's function, and packages whose frames may stand between them and the function.
_ENTRIES = ("taskq.execution.call", "taskq.execution.coroutines")
_BETWEEN = ("taskq", "asyncio", "selectors", "asgiref", "concurrent", "threading", "contextvars")
_AWAITS: Any = Interruptible.__await__.__code__
_FRAMES = attrgetter("cr_frame"), attrgetter("gi_frame"), attrgetter("ag_frame")
_AWAITED = attrgetter("cr_await"), attrgetter("gi_yieldfrom"), attrgetter("ag_await")


def of_process(main: int) -> str:
    """Return the stacks of a process that runs one task, in the thread ``main``: that one first, then the others."""
    me, now = threading.get_ident(), sys._current_frames()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [of_thread(main)]
    others = [ident for ident in now if ident not in (main, me)]
    parts += [_headed(f"Thread {names.get(ident, '')}".rstrip(), of_frame(now[ident])) for ident in others]
    return joined(parts)


def of_thread(ident: int | None) -> str:
    """Return the stack of a thread, and of the coroutines that wait on its event loop."""
    frame = sys._current_frames().get(ident or 0)
    waiting = list(_waiting(ident or 0))
    # A thread whose coroutines all wait is in the loop's own code.
    return joined([of_frame(frame, or_all=not waiting), *waiting])


def of_frame(frame: FrameType | None, *, or_all: bool = True) -> str:
    """Return the stack that ends in a frame, the innermost last, from the task's function on.

    If the task's function is not in it, all of it is returned, or with ``or_all`` false nothing.
    """
    frames: list[FrameType] = []
    while frame is not None and len(frames) <= MOST_FRAMES:
        frames.append(frame)
        frame = frame.f_back
    cut = len(frames) > MOST_FRAMES
    frames.reverse()
    if cut:
        return _text(frames[1:], cut=True)
    own = _without_callers(frames)
    return _text(frames if not own and or_all else own, cut=False)


def of_coroutine(coroutine: Any) -> str:
    """Return where a coroutine waits: its frame, those of what it awaits, and so on."""
    return _text(_without_callers(list(_awaited(coroutine))), cut=False)


def joined(parts: Iterable[str]) -> str:
    """Return several stacks as one text, which is not too long."""
    text = "\n".join(list(filter(None, parts))[:MOST_STACKS])
    return text if len(text) <= MOST else f"{text[:MOST]}\n…\n"


def _waiting(ident: int) -> Iterator[str]:
    loop = loops.get(ident)
    for task in asyncio.all_tasks(loop) if loop is not None and loop.is_running() else ():
        coroutine = task.get_coro()
        # One that runs is on the stack of its thread.
        if not getattr(coroutine, "cr_running", False):
            yield _headed(f"Coroutine {getattr(coroutine, '__qualname__', '')}".rstrip(), of_coroutine(coroutine))


def _awaited(awaitable: Any) -> Iterator[FrameType]:
    for _ in range(MOST_FRAMES):
        frame = _first(_FRAMES, awaitable)
        if frame is None:
            return
        if frame.f_code is _AWAITS:
            awaitable = frame.f_locals["self"].coroutine
            continue
        yield frame
        awaitable = _first(_AWAITED, awaitable)


def _first(getters: Iterable[Callable[[Any], Any]], of: Any) -> Any:
    for getter in getters:
        with suppress(AttributeError):
            return getter(of)
    return None


def _without_callers(frames: list[FrameType]) -> list[FrameType]:
    """Return the frames from the task's function on; none if it is not among them."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    start = next((number for number, module in enumerate(modules) if module in _ENTRIES), len(frames))
    while start < len(frames) and modules[start].partition(".")[0] in _BETWEEN:
        start += 1
    return frames[start:]


def _headed(title: str, text: str) -> str:
    return f"{title}:\n{text}" if text else ""


def _text(frames: Iterable[FrameType], *, cut: bool) -> str:
    summary = traceback.StackSummary.extract((frame, frame.f_lineno or 0) for frame in frames)
    lines = [line[:MOST_LINE] for entry in summary.format() for line in entry.rstrip("\n").split("\n")]
    text = "\n".join([*(["  … more frames above"] if cut else []), *lines])
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "") + "\n" if lines else ""
