"""The task by which the pages act on many tasks. Found by taskq, as the ``tasks.py`` of every app."""

from __future__ import annotations

from typing import Any

from taskq import task


@task(bind=True, name="taskq_admin.bulk", ignore_result=False)
def bulk(self: Any, /, **job: Any) -> dict[str, Any]:
    """Act on all tasks that match a filter, and return what was done. ``taskq_admin.actions.bulk`` sends it.

    It tells how far it is, stops when it is revoked, and may run again after a crash: each task is acted upon once.
    """
    from taskq_admin.actions.bulk import Job, is_revoked, run

    begun = Job.of(job)
    begun.verify(self.request.id)
    return run(
        begun,
        tell=lambda meta: self.update_state(state="PROGRESS", meta=meta),
        is_stopped=lambda: is_revoked(self.request.id),
    )
