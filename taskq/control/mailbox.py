"""The mailbox of a worker: it reads commands, calls their handlers, and replies. A part of the remote thread.

Whatever comes in, the thread lives: an unreadable message is a line of the log, an error of a handler is the reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kombu.utils.json import dumps

from taskq.containment import contained
from taskq.worker.remote.connection import mailbox_queue, reply_exchange
from taskq.worker.remote.lamport import lamport
from taskq.worker.remote.link import Link

from . import log_lines
from .orders import Order, read_order
from .pending import NO_REPLY, Pending
from .registry import commands
from .state import WorkerState


class Mailbox:
    """Serves the commands of one worker."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._link: Link | None = None

    def connected(self, link: Link) -> None:
        """Read the mailbox of this node."""
        self._link = link
        link.consume(mailbox_queue(self._state.hostname), self._receive)

    def leaving(self, link: Link) -> None:
        """Nothing is left to send."""

    def _receive(self, message: Any) -> None:
        try:
            order = read_order(message.body, message.content_type, message.headers or {})
            lamport.adjust(order.clock)
            if not order.is_for(self._state.hostname):
                return
        except Exception as error:
            log_lines.message_unreadable(error)
            return
        if order.has_expired():
            log_lines.command_expired(order.method, order.expires)
        else:
            log_lines.command_received(order.method, order.arguments)
            self._answer(order, handle(self._state, order.method, order.arguments))

    def _answer(self, order: Order, reply: Any) -> None:
        if isinstance(reply, Pending):
            if self._link is not None:
                self._link.after(order.patience, reply.time_out)
            reply.send_to(partial(self._answer, order))
        elif order.reply_to and reply is not NO_REPLY:
            try:
                self._send(order, *order.reply_to, reply)
            except Exception as error:
                # The caller may be gone, and its queue with it.
                log_lines.reply_not_sent(order.method, error)

    def _send(self, order: Order, exchange_name: str, key: str, reply: Any) -> None:
        if self._link is not None:
            exchange = reply_exchange(exchange_name)
            headers = {"ticket": order.ticket, "clock": lamport.forward()}
            body = {self._state.hostname: _sendable(reply)}
            self._link.publish(body, exchange, key, headers=headers, declare=[exchange])


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
        return {"error": _shown(error)}


def _sendable(reply: Any) -> Any:
    """Return the reply, or the error if it is not JSON."""
    try:
        dumps(reply)
    except Exception as error:
        return {"error": _shown(error)}
    return reply


def _shown(error: BaseException) -> str:
    try:
        return repr(error)
    except contained():
        return f"<{type(error).__name__}>"
