"""Tasks that are known to be short."""

from __future__ import annotations

from taskq import task
from taskq.worker.loop.prefetch import PrefetchPolicy


@task(name="consumer.plain")
def plain() -> None: ...


@task(name="consumer.early", acks_late=False)
def early() -> None: ...


@task(name="consumer.late")
def late() -> None: ...


@task(name="consumer.limited", time_limit=5)
def limited() -> None: ...


def short_tasks() -> PrefetchPolicy:
    """A policy that knows the tasks to be short."""
    policy = PrefetchPolicy()
    for name in ("consumer.plain", "consumer.early", "consumer.limited"):
        for _ in range(20):
            policy.observe(name, 0.001)
    return policy
