"""Looking at the threads that wait for results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import connection

from taskq.engines.listeners import Listener
from taskq.models import TaskRun
from taskq.results import listener
from taskq.results.async_result import AsyncResult


def put(task_id: str, state: str = "SUCCESS", result: str = "4") -> None:
    TaskRun.objects.update_or_create(
        task_id=task_id,
        defaults={"state": state, "result": result, "created_at": datetime.now(UTC)},
    )


def result_listeners() -> list[listener.ResultListener]:
    """Those that there are: a copy, as their own threads change the dictionary."""
    return list(listener._listeners.values())


def listener_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("taskq-results")]


def waited_for() -> int:
    return sum(len(watch._waiting) for watch in result_listeners() if watch.alive)


def listening() -> bool:
    return any(watch._listening for watch in result_listeners())


class Deaf(Listener):
    """A listener that never hears anything."""

    interval = None

    def poll(self) -> set[str] | None:
        return set()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def get_in_thread(timeout: float = 60.0) -> Callable[[], list[int]]:
    """Get the result ``a`` in a thread; return a function that waits for its end, and returns what it has got."""
    got: list[int] = []
    thread = in_thread(lambda: got.append(AsyncResult[int]("a").get(timeout=timeout)))

    def ended() -> list[int]:
        thread.join()
        return got

    return ended
