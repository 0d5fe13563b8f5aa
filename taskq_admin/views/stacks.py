"""Where a running task is: asked of the workers, when somebody looks at the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from taskq import control
from taskq.conf import settings
from taskq.models import TaskRun
from taskq_admin.actions.workers import PATIENCE
from taskq_admin.queries import payloads, workers

#: Characters that the id of a task has at most.
_LONGEST = 255
#: Characters of an answer's error that are shown.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Stack:
    """The stack of a task, and the worker that told it; ``text`` is empty if there is none, ``why`` says so."""

    task_id: str
    name: str = ""
    worker: str = ""
    text: str = ""
    why: tuple[tuple[str, str], ...] = ()
    run_pk: int | None = None

    def data(self) -> dict[str, Any]:
        """Return plain values."""
        return {"task_id": self.task_id, "worker": self.worker, "stack": self.text, "errors": dict(self.why)}


def of(task_id: str) -> Stack:
    """Ask for the stack of a task: its worker, if that is known, else all that live.

    Whatever can write to the broker of control may answer: an answer is cut.
    """
    if not 0 < len(task_id) <= _LONGEST or "\0" in task_id:
        return Stack("")
    run = TaskRun.objects.using(settings.DATABASE).filter(task_id=task_id).values_list("pk", "name").first()
    pk, name = run or (None, "")
    names = workers.holders(task_id) or [worker.name for worker in workers.living()]
    try:
        answers = _ask(task_id, names)
    except Exception as error:  # any error of the broker of remote control
        answers = {str(_("The workers can't be asked")): {"error": f"{type(error).__name__}: {error}"}}
    for worker, answer in answers.items():
        if isinstance(answer, dict) and answer.get("ok"):
            return Stack(task_id, name, worker, str(answer["ok"])[: payloads.LIMIT], run_pk=pk)
    told = {worker: answer.get("error", "") for worker, answer in answers.items() if isinstance(answer, dict)}
    return Stack(
        task_id, name, why=tuple(sorted((worker, str(error)[:_MOST]) for worker, error in told.items())), run_pk=pk
    )


def _ask(task_id: str, names: list[str]) -> dict[str, Any]:
    replies = control.broadcast("stack", {"task_id": task_id}, names, reply=True, timeout=PATIENCE)
    return {name: answer for reply in replies or () for name, answer in reply.items()}
