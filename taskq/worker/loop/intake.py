"""The intake: claimed messages become requests, or end without a run. The consumer builds on it.

It lives on the loop's thread. A message that is no task is rejected, a task that must not run is settled or postponed,
and everything that has ended is collected for the ledger.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

from taskq import signals
from taskq.records import Claimed, Progress, Settlement
from taskq.worker import log_lines
from taskq.worker.pools.base import LostChild

from . import returns, settlements
from .holdings import Holdings
from .in_flight import InFlight
from .request import Limits, Request, read

#: Seconds between two posts of ends while others come sooner than that: one transaction for many tasks. A caller that
#: waits for one of these tasks gets its result up to so much later.
GATHER = 0.01


class Intake:
    """The requests that one worker holds, by their messages' ids, and the ends that are not posted yet.

    ``store(method, *args)`` calls the ledger, or the parking, on the store thread. ``on_failure`` calls the handlers of
    a task that failed without a run.
    """

    def __init__(
        self,
        hostname: str,
        limits: Limits,
        store: Callable[..., None],
        on_failure: Callable[[Request, BaseException], None],
    ) -> None:
        self.hostname = hostname
        self.limits = limits
        #: How many settlements there were; the source reads this number on the store thread.
        self.ended = 0
        self._store = store
        self._on_failure = on_failure
        self._in_flight = InFlight()
        self._by_message: dict[int, Request] = {}
        self.holdings = Holdings(self._by_message, self._in_flight)
        #: Has a function called on the loop's thread in so many seconds.
        self.call_later: Callable[[float, Callable[[], object]], object]
        self._ends: list[Settlement] = []  # not posted yet
        #: While ends are gathered: when they are posted next, and whether a timer is set for it.
        self._next_post, self._has_timer = 0.0, False
        #: Messages whose task has a rate limit, with its name; not posted yet.
        self._parked: list[tuple[str, Claimed]] = []
        self._numbers = itertools.count(1)

    def read(self, message: Claimed, *, told: bool = True) -> Request | None:
        """Return the request of a message that is to run; settle or postpone any other.

        If ``told``, receivers of ``task_received`` are called.
        """
        try:
            request = read(message, self.limits)
        except Exception as error:
            # A message may hold anything: this one is rejected, and the worker goes on.
            self.settle(settlements.rejected(message, error, self.hostname))
            return None
        request.job = next(self._numbers)
        request.starts = message.deliveries + 1
        self._by_message[message.id] = request
        if told and not request.limited and signals.task_received.receivers:  # a limited one comes again
            signals.send(signals.task_received, request.sender, request=request)
        return None if self._refused(request) else request

    def _refused(self, request: Request) -> bool:
        """Settle or postpone a request that must not run now; tell whether that was done."""
        if request.unconditional and not request.revoked:
            return False
        try:
            refused = self._refuse(request)
        except Exception as error:
            # For example at an option that a task got after its definition: the task fails, and the worker goes on.
            self._end(request, settlements.broken(request, error, self.hostname))
            return True
        if refused:
            self._give_back_start(request)
        return refused

    def _give_back_start(self, request: Request) -> None:
        """Have a start of a rate limit used for another message: this one was claimed for it, and does not start."""
        if request.message.granted:
            self._store("start_unused", request.name)

    def _refuse(self, request: Request) -> bool:
        if (end := settlements.must_not_run(request, self.hostname)) is not None:
            self._end(request, end)
        elif (delay := request.delay()) > 0:
            self._postpone(request, request.message, delay)
        elif (back := returns.with_unknown_since(request)) is not None:
            self._postpone(request, *back)
        elif (end := settlements.can_not_run(request, self.hostname)) is not None:
            self._end(request, end)
        elif request.limited:
            self._forget(request)
            self._parked.append((request.name, request.message))
        else:
            return False
        return True

    def _postpone(self, request: Request, message: Claimed, delay: float) -> None:
        self._forget(request)
        self._store("postpone", message, delay)

    def _write_progress(self, request: Request, progress: Progress) -> None:
        """Have a state of a running task written, but not for a result that leaves no row."""
        if request.message.tracked or not settlements.ignores(request):
            self._store("report", progress)

    @property
    def running(self) -> list[Request]:
        """The requests that the pool has."""
        return list(self._in_flight)

    # -- ends

    def _end(self, request: Request, settlement: Settlement) -> None:
        self._forget(request)
        if request.task is not None:
            self.holdings.totals[request.name] += 1
        if request.failure is not None:
            self._on_failure(request, request.failure)
        self.settle(settlement)

    def _lost(self, request: Request, lost: LostChild) -> None:
        if (end := settlements.after_loss(request, lost, self.hostname)) is not None:
            self._end(request, end)
        else:
            log_lines.task_requeued(request, lost.reason)
            self._forget(request)
            returns.requeue_lost(request, lost.reason, self.hostname, self._store)

    def _interrupted(self, request: Request, reason: str) -> None:
        """Requeue a request that was interrupted through no fault of its own, or settle it if it must not run again."""
        if request.acks_late:
            self._forget(request)
            returns.requeue_interrupted(request, reason, self.hostname, self._store)
        else:
            self._end(request, settlements.lost(request, reason, self.hostname))

    def settle(self, settlement: Settlement) -> None:
        """Note an end for the ledger."""
        self.ended += 1
        self._ends.append(settlement)

    def post_ends(self, *, gather: bool = False) -> None:
        """Post settlements, and messages to park, to the store thread: one call for a turn of the loop.

        With ``gather`` one call for the turns of ``GATHER`` seconds.
        """
        if gather and self._must_wait():
            return
        if self._ends:
            ends, self._ends = self._ends, []
            self._store("add", ends)
        if self._parked:
            parked, self._parked = self._parked, []
            self._store("park", parked)

    def _must_wait(self) -> bool:
        """Tell whether ends are to be posted later, all together. The loop may sleep until then: a timer wakes it."""
        left = self._next_post - time.monotonic()
        if left <= 0:
            self._next_post = time.monotonic() + GATHER
            return False
        if (self._ends or self._parked) and not self._has_timer:
            self._has_timer = True
            self.call_later(left, self._post_gathered)
        return True

    def _post_gathered(self) -> None:
        self._has_timer = False
        self.post_ends(gather=True)

    def _requeue(self, requests: Sequence[Request]) -> None:
        if requests:
            for request in requests:
                self._forget(request)
                self._give_back_start(request)
            returns.requeue(requests, self._store)

    def _give_up(self, request: Request) -> None:
        """Forget a request that another worker has taken over."""
        log_lines.task_taken_over(request)
        self._forget(request)
        self._store("drop", request.message.id)

    def _forget(self, request: Request) -> None:
        self._by_message.pop(request.message.id, None)
