"""Runs on a shared event loop, without a pool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq import signals, task
from taskq.exceptions import TaskTerminated
from taskq.execution import coroutines, isolation
from taskq.execution.inline import delivery_of
from taskq.handover import Delivery, Outcome, Report
from taskq.messages import protocol, tracing
from taskq.worker.pools.child_threads import Lease, Threads
from tests.unit.tasks.fixtures import registry

__all__ = ["registry"]

THREADS = Threads(4)


def message(name: str, *args: Any, **changes: Any) -> Delivery:
    found = delivery_of(protocol.build(name=name, args=args, kwargs={}, queue="", serializer="json"))
    for field, value in changes.items():
        setattr(found, field, value)
    return found


async def ended(
    run: coroutines.CoroutineRun, when: asyncio.Event, error: BaseException | None
) -> tuple[bool, Outcome | None]:
    """Run, and end the run when the task says so."""
    running = asyncio.get_running_loop().create_task(run.execute(), context=isolation.Seat().context())
    await asyncio.wait([running, asyncio.ensure_future(when.wait())], return_when=asyncio.FIRST_COMPLETED)
    done = run.end(error)
    return done, await running


def run_of(delivery: Delivery, reports: list[Report] | None = None) -> coroutines.CoroutineRun:
    return coroutines.CoroutineRun(delivery, [].append if reports is None else reports.append, Lease(THREADS))


def execute(*deliveries: Delivery) -> list[Outcome | None]:
    """Run deliveries at the same time on one loop."""

    async def main() -> list[Outcome | None]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(coroutines.task_factory)  # type: ignore[arg-type]
        started = [loop.create_task(run_of(one).execute(), context=isolation.Seat().context()) for one in deliveries]
        return await asyncio.gather(*started)

    return asyncio.run(main())


def states(outcomes: list[Outcome | None]) -> list[str]:
    return [outcome.state if outcome else "" for outcome in outcomes]


def test_outcomes_are_those_of_other_pools() -> None:
    @task(name="a.double")
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    @task(name="a.broken")
    async def broken() -> None:
        raise LookupError("nowhere")

    @task(name="a.odd")
    async def odd() -> object:
        return object()

    outcomes = execute(
        message("a.double", 4),
        message("a.broken"),
        message("a.odd"),
        message("a.unknown"),
        message("a.double", 1, expires_by=0.0),
        message("a.double", 1, body="no json"),
    )
    assert states(outcomes) == ["SUCCESS", "FAILURE", "FAILURE", "FAILURE", "REVOKED", "FAILURE"]
    assert outcomes[0] is not None
    assert outcomes[0].result == "8"


def test_runs_take_turns_on_the_loop() -> None:
    here: list[int] = []

    @task(name="a.meet")
    async def meet() -> int:
        here.append(1)
        while len(here) < 3:
            await asyncio.sleep(0)
        return len(here)

    assert states(execute(*[message("a.meet") for _ in range(3)])) == ["SUCCESS"] * 3


@pytest.mark.parametrize("error", [None, TaskTerminated("terminated")])
def test_end_interrupts_the_function_and_only_a_soft_end_has_an_outcome(error: BaseException | None) -> None:
    seen: list[str] = []

    async def main() -> tuple[bool, Outcome | None]:
        began = asyncio.Event()

        @task(name="a.wait")
        async def wait() -> str:
            began.set()
            try:
                async with asyncio.timeout(600):
                    await asyncio.sleep(600)
            except BaseException as raised:
                seen.append(type(raised).__name__)
                raise
            return "not reached"

        return await ended(run_of(message("a.wait")), began, error)

    done, outcome = asyncio.run(main())
    assert done
    assert seen == ["CancelledError" if error is None else "TaskTerminated"]
    assert (outcome.state if outcome else None) == (None if error is None else "REVOKED")


def test_end_after_the_function_changes_nothing() -> None:
    @task(name="a.quick")
    async def quick() -> int:
        return 1

    async def main() -> tuple[Outcome | None, bool]:
        run = run_of(message("a.quick"))
        outcome = await run.execute()
        return outcome, run.end(None)

    outcome, done = asyncio.run(main())
    assert (outcome.state if outcome else None, done) == ("SUCCESS", False)


def test_receivers_of_signals_run_in_the_thread_of_the_run() -> None:
    import threading

    names: list[str] = []

    @task(name="a.heard")
    async def heard() -> str:
        names.append(threading.current_thread().name)
        return "done"

    def note(*_: Any, **__: Any) -> None:
        names.append(threading.current_thread().name)

    for signal in (signals.task_prerun, signals.task_success):
        signal.connect(note)
    try:
        assert states(execute(message("a.heard"))) == ["SUCCESS"]
    finally:
        for signal in (signals.task_prerun, signals.task_success):
            signal.disconnect(note)
    assert names[1] == "MainThread"
    assert names[0] == names[2]
    assert names[0].startswith("taskq-")


def test_tracer_wraps_the_run() -> None:
    wrapped: list[tuple[str, str | None]] = []

    class Tracing:
        async def run_async(self, run: Any, function: Callable[[Any], Awaitable[Any]]) -> Any:
            outcome = await function(run)
            wrapped.append((run.headers.task, outcome.state))
            return outcome

    @task(name="a.traced")
    async def traced() -> None:
        await asyncio.sleep(0)

    before = tracing.install(Tracing())  # type: ignore[arg-type]
    try:
        assert states(execute(message("a.traced"))) == ["SUCCESS"]
    finally:
        tracing.install(before)
    assert wrapped == [("a.traced", "SUCCESS")]


def test_lease_waits_for_a_thread_and_keeps_it() -> None:
    import threading

    threads = Threads(1)
    first, second = Lease(threads), Lease(threads)
    name = first.submit(threading.get_ident).result(60)
    waiting = second.submit(threading.get_ident)
    assert not waiting.done()
    assert first.submit(threading.get_ident).result(60) == name
    assert not second.has_thread
    first.release()
    assert waiting.result(60) == name
    second.release()
    assert threads.started == 1


def test_lease_that_ends_while_it_waits_takes_no_thread() -> None:
    threads = Threads(1)
    first, second, third = (Lease(threads) for _ in range(3))
    first.submit(int).result(60)
    waiting = second.submit(int)
    second.release()
    assert waiting.cancelled()
    first.release()
    assert third.submit(int).result(60) == 0
