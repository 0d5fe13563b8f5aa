"""Parts of the worker that are arithmetic and bookkeeping: what must be true of them whatever comes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taskq.worker.call_queue import CallQueue
from taskq.worker.loop.in_flight import InFlight
from taskq.worker.loop.prefetch import LONG, PER_CHILD, PrefetchPolicy
from taskq.worker.process.nodenames import expand

names = st.sampled_from(["a", "b", "c"])
seconds = st.floats(0, 3600, allow_nan=False)
runs = st.lists(st.tuples(names, seconds), max_size=50)


def _pace(observed: list[tuple[str, float]], **options: Any) -> PrefetchPolicy:
    pace = PrefetchPolicy(options.get("multiplier"), fair=options.get("fair", False))
    for name, runtime in observed:
        pace.observe(name, runtime)
    return pace


# -- PrefetchPolicy


@given(runs, st.integers(1, 100))
def test_prefetch_target_is_one_a_child_at_least_and_bounded(
    observed: list[tuple[str, float]], concurrency: int
) -> None:
    target = _pace(observed).target(concurrency)
    assert concurrency <= target <= max(concurrency, 500)


@given(runs, st.integers(1, 100), st.integers(1, 20))
def test_prefetch_target_is_set_by_multiplier_or_fairness(
    observed: list[tuple[str, float]], concurrency: int, multiplier: int
) -> None:
    assert _pace(observed, multiplier=multiplier).target(concurrency) == concurrency * multiplier
    assert _pace(observed, fair=True).target(concurrency) == concurrency


@given(runs, names, st.integers(0, 200), seconds)
def test_idle_child_gets_a_task_and_busy_one_no_more_than_it_can_do_soon(
    observed: list[tuple[str, float]], name: str, handed: int, taken: float
) -> None:
    pace = _pace(observed)
    assert pace.fits(0, taken, pace.cost(name))
    if handed and pace.fits(handed, taken, pace.cost(name)):
        assert taken + pace.cost(name) <= PER_CHILD
        assert handed < 64
    assert not _pace(observed, fair=True).fits(handed + 1, taken, pace.cost(name))


@given(runs, names)
def test_task_that_just_took_long_is_handed_over_alone(observed: list[tuple[str, float]], name: str) -> None:
    pace = _pace([*observed, (name, LONG)])
    assert not pace.fits(1, 0.01, pace.cost(name))


@given(runs, names)
def test_task_counts_as_short_after_many_short_runs(observed: list[tuple[str, float]], name: str) -> None:
    pace = _pace([*observed, *[(name, 0.001)] * 100])
    assert pace.fits(1, pace.cost(name), pace.cost(name))
    assert pace.target(2) > 2


@given(runs, names, seconds)
def test_running_task_costs_at_least_the_time_it_has_run(
    observed: list[tuple[str, float]], name: str, elapsed: float
) -> None:
    pace = _pace(observed)
    pace.observe_running(name, elapsed)
    if elapsed:
        assert pace.cost(name) >= elapsed
    if elapsed >= LONG:
        assert not pace.fits(1, 0.0, pace.cost(name))


# -- InFlight


@dataclass
class FakeRequest:
    job: int
    name: str
    alone: bool = False
    cost: float = 0.0


class InFlightMachine(RuleBasedStateMachine):
    """InFlight against a plain list for each slot."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = PrefetchPolicy()
        self.in_flight = InFlight()
        self.known: dict[int, list[FakeRequest]] = {0: [], 1: [], 2: []}
        self.next = 1

    @rule(slot=st.integers(0, 2), name=names)
    def put(self, slot: int, name: str) -> None:
        request = FakeRequest(self.next, name, cost=self.pace.cost(name))
        self.next += 1
        self.known[slot].append(request)
        self.in_flight.put(slot, [request])  # type: ignore[arg-type]

    @rule(slot=st.integers(0, 2))
    def put_alone(self, slot: int) -> None:
        if self.known[slot] or self.in_flight.of(slot).reserved:
            return
        self.in_flight.of(slot).reserved = True
        request = FakeRequest(self.next, "a", alone=True)
        self.next += 1
        self.known[slot].append(request)
        self.in_flight.put(slot, [request])  # type: ignore[arg-type]

    @rule(name=names, runtime=seconds)
    def observe(self, name: str, runtime: float) -> None:
        self.pace.observe(name, runtime)

    @precondition(lambda self: any(self.known.values()))
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([s for s, requests in self.known.items() if requests]))
        request = data.draw(st.sampled_from(self.known[slot]))
        self.known[slot].remove(request)
        assert self.in_flight.take(request.job) is request
        assert self.in_flight.take(request.job) is None
        assert not (request.alone and self.in_flight.of(slot).reserved)

    @invariant()
    def everything_is_where_it_was_put(self) -> None:
        everything = [request for requests in self.known.values() for request in requests]
        assert len(self.in_flight) == len(everything)
        assert bool(self.in_flight) == bool(everything)
        assert sorted(r.job for r in self.in_flight) == sorted(r.job for r in everything)
        for slot, requests in self.known.items():
            load = self.in_flight.of(slot)
            assert load.head is (requests[0] if requests else None)
            assert load.seconds == pytest.approx(sum(r.cost for r in requests), abs=1e-6)
            assert all(r.job in self.in_flight and self.in_flight.get(r.job) is r for r in requests)


TestInFlight = InFlightMachine.TestCase


# -- CallQueue


@given(st.lists(st.integers(), max_size=200), st.integers(1, 4))
def test_mailbox_makes_every_call_once_in_its_senders_order(values: list[int], senders: int) -> None:
    calls, made, done = CallQueue(), [], threading.Event()
    total = len(values) * senders

    def receive() -> None:
        import select

        poll = select.poll()
        poll.register(calls.fileno(), select.POLLIN)
        while len(made) < total:
            # A wake-up that was lost would end here.
            assert poll.poll(10_000)
            calls.run()
        done.set()

    def send(sender: int) -> None:
        for place, value in enumerate(values):
            calls.post(lambda *args: made.append(args), sender, place, value)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(senders)]
    receiver = threading.Thread(target=receive)
    for thread in [receiver, *threads]:
        thread.start()
    for thread in [*threads, receiver]:
        thread.join(60)
    assert done.is_set()
    for sender in range(senders):
        assert [(place, value) for s, place, value in made if s == sender] == list(enumerate(values))


# -- names


@given(st.text(st.characters(exclude_characters="%"), max_size=20), st.integers(0, 99))
def test_expand_leaves_text_without_percent_signs(text: str, process: int) -> None:
    assert expand(text, "w1@host.example.com", process) == text


@given(
    st.from_regex(r"[a-z0-9.-]{0,9}", fullmatch=True),
    st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,5}){0,2}", fullmatch=True),
    st.integers(0, 99),
)
def test_expand_replaces_node_host_and_process(name: str, host: str, process: int) -> None:
    node = f"{name}@{host}"
    assert expand("%n@%h", node, process) == expand("%p", node, process) == node
    assert expand("%%n%%", node, process) == "%n%"
    assert expand("%d", node) == host.partition(".")[2]
    assert expand("%i%I", node, process) == (f"{process}-{process}" if process else "0")
