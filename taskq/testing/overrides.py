"""``override`` changes how tasks are sent and run during a test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Literal

from django.test.utils import TestContextDecorator, override_settings

from taskq.results import backend
from taskq.sending import publisher

from .memory import Memory

Mode = Literal["memory", "inline", "eager"]

_active: list[Memory] = []


class override(TestContextDecorator):
    """Change sending for a test: ``with override("inline") as memory:``, or a decorator of tests and test classes.

    ``"memory"`` keeps sent tasks until ``drain()`` runs them. ``"inline"`` runs them as soon as a worker would see
    them. ``"eager"`` is ``TASKQ_ALWAYS_EAGER``. ``propagate`` raises the exception of a failing task, in ``drain()``
    or in ``delay()``. The value of ``with`` is a ``Memory``; a decorated class gets it as ``self.<attr_name>``, a
    decorated function as its argument ``kwarg_name``.
    """

    def __init__(
        self,
        mode: Mode = "memory",
        *,
        propagate: bool = False,
        attr_name: str | None = None,
        kwarg_name: str | None = None,
    ) -> None:
        if mode not in ("memory", "inline", "eager"):
            raise ValueError(f"mode must be 'memory', 'inline' or 'eager', not {mode!r}.")
        super().__init__(attr_name, kwarg_name)
        self.mode = mode
        self.propagate = propagate
        self._undo: list[ExitStack] = []

    def enable(self) -> Memory:
        """Begin; return the ``Memory``, which stays empty with ``"eager"``."""
        memory = Memory(inline=self.mode == "inline", propagate=self.propagate)
        changed = override_settings(
            TASKQ_ALWAYS_EAGER=self.mode == "eager", TASKQ_EAGER_PROPAGATES=self.mode == "eager" and self.propagate
        )
        undo = ExitStack()
        changed.enable()
        undo.callback(changed.disable)
        if self.mode != "eager":
            undo.callback(publisher.set_sink, publisher.set_sink(memory.accept))
            undo.callback(publisher.set_workflow_sink, publisher.set_workflow_sink(memory.accept_workflow))
            undo.callback(backend.use, backend.use(memory))
            _active.append(memory)
            undo.callback(_active.remove, memory)
        self._undo.append(undo)
        return memory

    def __enter__(self) -> Memory:  # type: ignore[override]
        return self.enable()

    def disable(self) -> None:
        """End, and restore the former sink, backend and settings."""
        self._undo.pop().close()


def active() -> Memory:
    """Return the innermost memory. Raises ``RuntimeError`` outside of ``override``."""
    if not _active:
        raise RuntimeError(
            "Tasks are not kept in memory here: use taskq.testing.override(), TaskqTestMixin, "
            "or the pytest fixture taskq_memory."
        )
    return _active[-1]
