"""The mailbox of a worker: it reads commands, calls their handlers, and replies. A part of the remote thread.

Whatever comes in, the thread lives: an unreadable message is a line of the log, an error of a handler is the reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.utils.json import dumps

from taskq.containment import contained
from taskq.worker.remote.connection import mailbox_queue, reply_exchange
from taskq.worker.remote.lamport import lamport
from taskq.worker.remote.link import Link

from . import log_lines
from .orders import Order, read_order
from .pending import NO_REPLY, Pending, error_reply
from .registry import commands
from .state import WorkerState


class Mailbox:
    """Serves the commands of one worker."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._link: Link | None = None
        #: Whether this process has read the mailbox before.
        self._has_read = False

    def connected(self, link: Link) -> None:
        """Read the mailbox of this node.

        What waits there at first was sent to an earlier process of that name, which was killed: it is dropped, but for
        revokes. No clocks are compared.
        """
        self._link = link
        link.consume(mailbox_queue(self._state.hostname), self._receive, None if self._has_read else self._receive_old)
        self._has_read = True

    def leaving(self, link: Link) -> None:
        """Nothing is left to send."""

    def _receive(self, message: Any) -> None:
        if (order := self._read(message)) is None:
            return
        if order.has_expired():
            log_lines.command_expired(order.method, order.expires)
        else:
            self._obey(order)

    def _receive_old(self, message: Any) -> None:
        if (order := self._read(message)) is None:
            return
        if order.is_lasting:
            self._obey(order)
        else:
            log_lines.command_old(order.method)

    def _read(self, message: Any) -> Order | None:
        """Return the command of a message, if it is one, and for this worker."""
        try:
            order = read_order(message.body, message.content_type, message.headers or {})
            lamport.adjust(order.clock)
            return order if order.is_for(self._state.hostname) else None
        except Exception as error:
            log_lines.message_unreadable(error)
            return None

    def _obey(self, order: Order) -> None:
        log_lines.command_received(order.method, order.arguments)
        reply = handle(self._state, order.method, order.arguments)
        if isinstance(reply, Pending):
            self._wait(order, reply)
        else:
            self._answer(order, reply)

    def _wait(self, order: Order, reply: Pending) -> None:
        cancel = self._link.after(order.patience, reply.time_out) if self._link is not None else None

        def answer(found: Any) -> None:
            if cancel is not None:
                cancel()
            self._answer(order, found)

        reply.send_to(answer)

    def _answer(self, order: Order, reply: Any) -> None:
        """Reply, if a reply is wanted and to an exchange of replies: no message of a stranger declares another one."""
        if reply is NO_REPLY or order.reply_to is None or self._link is None:
            return
        exchange, (name, key) = reply_exchange(), order.reply_to
        if name != exchange.name:
            log_lines.reply_refused(order.method, name, exchange.name)
            return
        headers = {"ticket": order.ticket, "clock": lamport.forward()}
        try:
            self._link.publish({self._state.hostname: _sendable(reply)}, exchange, key, headers=headers)
        except Exception as error:
            if isinstance(error, self._link.connection_errors):
                raise
            log_lines.reply_not_sent(order.method, error)


def handle(state: WorkerState, method: str, arguments: Mapping[str, Any]) -> Any:
    """Return the reply to a command: what its handler returns, or the error that it raises."""
    command = commands.get(method)
    try:
        if command is None:
            raise KeyError(method)
        return command.handler(state, **arguments)
    except contained() as error:
        if command is not None:
            log_lines.command_failed(method, error)
        return error_reply(error)


def _sendable(reply: Any) -> Any:
    """Return the reply, or the error if it is not JSON."""
    try:
        dumps(reply)
    except Exception as error:
        return error_reply(error)
    return reply
