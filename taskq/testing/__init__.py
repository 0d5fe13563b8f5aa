"""For tests of code that sends tasks, without a worker and without waiting. Only tests call it.

``override`` keeps sent tasks in memory; ``assert_sent`` checks them, ``drain`` runs them. pytest has fixtures
for the same. See ``docs/how-to/test-your-tasks.md``. Only ``running_worker`` writes taskq's rows.

Names are loaded on first use: the pytest plugin is imported before Django's settings are known.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.testing.assertions import TaskqTestMixin as TaskqTestMixin
    from taskq.testing.assertions import assert_not_sent as assert_not_sent
    from taskq.testing.assertions import assert_sent as assert_sent
    from taskq.testing.assertions import drain as drain
    from taskq.testing.assertions import sent as sent
    from taskq.testing.memory import FOREVER as FOREVER
    from taskq.testing.memory import Ended as Ended
    from taskq.testing.memory import Memory as Memory
    from taskq.testing.message import SentTask as SentTask
    from taskq.testing.worker import running_worker as running_worker

    from .overrides import override as override

_WHERE = {
    "FOREVER": "memory",
    "Ended": "memory",
    "Memory": "memory",
    "SentTask": "message",
    "TaskqTestMixin": "assertions",
    "assert_not_sent": "assertions",
    "assert_sent": "assertions",
    "drain": "assertions",
    "override": "overrides",
    "running_worker": "worker",
    "sent": "assertions",
}

__all__ = [
    "FOREVER",
    "Ended",
    "Memory",
    "SentTask",
    "TaskqTestMixin",
    "assert_not_sent",
    "assert_sent",
    "drain",
    "override",
    "running_worker",
    "sent",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'taskq.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value
