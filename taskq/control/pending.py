"""``Pending``: the reply of a command that another thread gives, or that is given when it does not come in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.containment import contained

#: The most characters of an error in a reply: it may quote what was sent.
_MOST = 2_000
#: A handler returns it if it has nothing to say, not even "null".
NO_REPLY = object()


def error_reply(error: BaseException) -> dict[str, str]:
    """Return the reply that tells of an error, whatever its ``repr`` does."""
    try:
        return {"error": repr(error)[:_MOST]}
    except contained():
        return {"error": f"<{type(error).__name__}>"}


class Pending:
    """A reply to come. ``late()`` is the reply if it takes too long for the caller.

    ``give`` and ``fail`` may be called by any thread, everything else by the thread of remote control.
    """

    def __init__(self, post: Callable[..., None], late: Callable[[], Any]) -> None:
        self._post = post
        self._late = late
        self._send: Callable[[Any], None] | None = None
        self._reply: list[Any] = []

    def give(self, reply: Any) -> None:
        """Reply with this."""
        self._post(self._arrive, reply)

    def fail(self, error: BaseException) -> None:
        """Reply with an error."""
        self._post(self._arrive, error_reply(error))

    def run(self, call: Callable[..., Any], *args: Any) -> None:
        """Reply with what ``call(*args)`` returns or raises; called on the other thread."""
        try:
            reply = call(*args)
        except Exception as error:
            self.fail(error)
        else:
            self.give(reply)

    def send_to(self, send: Callable[[Any], None]) -> None:
        """Have the one reply sent by ``send``."""
        self._send = send
        self._finish()

    def time_out(self) -> None:
        """Reply that it takes longer, if there is no reply yet."""
        if not self._reply:
            self._arrive(self._late())

    def _arrive(self, reply: Any) -> None:
        if not self._reply:
            self._reply.append(reply)
            self._finish()

    def _finish(self) -> None:
        if self._send is not None and self._reply:
            send, self._send = self._send, None
            send(self._reply[0])
