"""The pools gevent and eventlet: one child, which is a fresh Python, runs each delivery in a greenlet.

The main process is not patched, and has no greenlets. See ``child_green`` for the child, and ``boot`` for its start.
"""

from __future__ import annotations

from . import green_project
from .interpreter import Interpreter
from .shared_pool import SharedPool


class GreenPool(SharedPool):
    """``concurrency`` greenlets in one child."""

    @classmethod
    def refuse(cls, interpreter: Interpreter | None) -> None:
        """Raise ``ValueError`` if this project's tasks can't run in greenlets."""
        green_project.refuse(cls.name, interpreter)

    def start(self) -> None:
        """Have the first child started."""
        green_project.warn(self.name)
        super().start()

    def restart(self, *, reload: bool = False) -> None:
        """Replace the child when its tasks have ended. Each child imports the code anew."""
        self.children.renew(starting=reload)


class GeventPool(GreenPool):
    """The pool of ``gevent``."""

    name = "gevent"


class EventletPool(GreenPool):
    """The pool of ``eventlet``."""

    name = "eventlet"
