"""Redeliveries: a duty of the store thread that has redelivered messages read one at a time.

The worker that held such a message died, perhaps of it: while it was read, refused, or settled. So a start is counted
before the loop reads the message, and taken back once the worker has survived that. Only when all have been read does
one of them start, for which a start is counted again (``Ledger.count``). So a message that kills each worker comes to
its limit, and those beside it do not. Messages that are delivered for the first time never come here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from taskq.engines import for_alias
from taskq.records import Claimed
from taskq.store import claim
from taskq.store.requeue import requeue
from taskq.worker import log_lines

from .lease import WorkerLease
from .patience import Patience
from .store_thread import Duty


class Redeliveries(Duty):
    """The redelivered messages that one worker has claimed and not read. Used on the store thread only.

    ``read`` has the loop read a message of the task with that name; the loop answers by ``was_read``. ``admit`` gives
    the loop the requests that it has read.
    """

    def __init__(
        self,
        lease: WorkerLease,
        alias: str,
        read: Callable[[Claimed, str], None],
        admit: Callable[[Sequence[Any]], None],
        *,
        patience: Patience | None = None,
    ) -> None:
        self._lease = lease
        self._alias = alias
        self._read = read
        self._admit = admit
        self._patience = patience or Patience(alias)
        self._engine = for_alias(alias)
        self._waiting: deque[Claimed] = deque()
        #: The message whose start is counted, until that is taken back; and whether the loop is reading it.
        self._counted: Claimed | None = None
        self._reading = False
        self._requests: list[Any] = []

    def add(self, messages: Iterable[Claimed]) -> None:
        """Have messages read that this worker has claimed."""
        self._waiting.extend(messages)

    def was_read(self, request: Any) -> None:
        """Take the request that the loop has read; ``None`` if its message is not to run."""
        self._reading = False
        if request is not None:
            self._requests.append(request)

    # -- the duty

    def work(self) -> bool:
        """Have the next message read; once there is none, admit all that have been read."""
        if self._reading:
            return False
        if self._counted is not None:
            self._take_back()
        if self._waiting and self._lease.state == "stopping":
            self._requeue_waiting()
        while self._waiting and not self._reading:
            self._read_next()
        if self._requests and not self._reading:
            requests, self._requests = self._requests, []
            self._admit(requests)
        return False

    def leave(self) -> None:
        """Take back the last counted start before the worker ends.

        It stays counted if the loop was reading the message: that may be why the worker ends.
        """
        if self._counted is not None and not self._reading:
            self._take_back()

    def _read_next(self) -> None:
        message = self._waiting.popleft()
        try:
            held = self._set_starts(message, message.deliveries + 1)
        except Exception as error:
            if self._patience.met_lock(error) or self._engine.may_pass(error):
                # Behind the others, which need not wait for a locked row.
                self._waiting.append(message)
                raise
            # The database refuses to count: it is read all the same.
            log_lines.write_failed()
            held = True
        if not held:
            # A peer took this worker for dead, and has the message.
            self._lease.drop(message.id)
            return
        name = claim.task_name(message.id, self._alias) if message.deliveries else ""
        self._counted, self._reading = message, True
        self._read(message, name)

    def _take_back(self) -> None:
        message = self._counted
        assert message is not None
        try:
            self._set_starts(message, message.deliveries)
        except Exception as error:
            # Nothing waits for a locked row: this message may start once less.
            if not self._patience.met_lock(error) and self._engine.may_pass(error):
                raise
        self._counted = None

    def _set_starts(self, message: Claimed, starts: int) -> bool:
        # A number, not one more: the commit may have been made though its answer was lost.
        return claim.set_starts(self._lease.holder(message.id), message.id, starts, self._alias)

    def _requeue_waiting(self) -> None:
        by_token: dict[str, list[int]] = {}
        for message in self._waiting:
            by_token.setdefault(self._lease.holder(message.id), []).append(message.id)
        for token, ids in by_token.items():
            requeue(token, ids, self._alias)
        self._lease.drop(*[message.id for message in self._waiting])
        self._waiting.clear()
