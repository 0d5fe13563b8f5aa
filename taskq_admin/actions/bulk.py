"""Acting on all tasks that match a filter: by a task of taskq itself, ``taskq_admin.bulk``.

The view begins it (``begin``), a worker runs it (``run``). What is acted upon is fixed when it begins: tasks that are
sent later, or that end later, are not met. So two people who press the same button retry each task once.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.signing import BadSignature, Signer
from django.db.models import Q
from django.http import HttpRequest
from django.urls import get_resolver
from django.utils import translation
from django.utils.translation import gettext as _
from kombu.utils import json as kombu_json

from taskq import AsyncResult, states
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.models import Message, Revocation, TaskRun
from taskq.store import reading
from taskq_admin.queries import runs
from taskq_admin.queries.capped import CappedCount
from taskq_admin.queries.matching import find, walk
from taskq_admin.queries.wanted import Wanted

from .base import Action, Step, Who, get, is_permitted, pages_of
from .outcomes import words

#: Tasks that are acted upon in one go; between two of them it tells how far it is, and may be stopped.
CHUNK = 1000
#: Seconds by which a task stays behind another one that acts on the same tasks, at least.
BEHIND = 0.5
#: So many matching tasks, or fewer, are acted upon at once, in the request.
FEW = 100
#: The highest priority.
_PRIORITY = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The arguments of the bulk task.

    Attributes:
        key: the action's.
        model: the model of the action, by its name.
        wanted: which tasks, see ``Wanted``.
        began: when it was asked for, by the clock of the database; what has ended since is left alone.
        user: the primary key of the user, as text.
        by: the user's name.
        reason: why, if a reason was given.
        data: the cleaned data of the action's form.
        site: the name of the admin site.
        language: the language of the report.
        seal: a signature of all of this and of the task's id. Who may run tasks with arguments of their own must not
            act in the name of others by it.
    """

    key: str
    wanted: Wanted
    began: datetime
    user: str
    by: str = ""
    reason: str = ""
    data: Mapping[str, Any]
    site: str
    language: str = "en"
    model: str = "taskrun"
    seal: str = ""

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Job:
        """Read the arguments as a message has carried them."""
        wanted = dict(arguments["wanted"])
        for name in ("argument", "problems"):
            if wanted.get(name) is not None:
                wanted[name] = tuple(wanted[name])
        return cls(**{**arguments, "wanted": Wanted(**wanted)})

    def sealed(self, task_id: str) -> Job:
        """Return the job with its seal, for the task with this id alone."""
        return replace(self, seal=_signer().sign(self._digest(task_id)))

    def verify(self, task_id: str) -> None:
        """Raise ``PermissionDenied`` if the job was altered, or was made for another task."""
        try:
            genuine = _signer().unsign(self.seal) == self._digest(task_id)
        except BadSignature:
            genuine = False
        if not genuine:
            raise PermissionDenied(
                _("Not begun from the admin: altered, sent again, or signed with another SECRET_KEY.")
            )

    def _digest(self, task_id: str) -> str:
        values = {**asdict(self), "seal": task_id}
        text = kombu_json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _signer() -> Signer:
    return Signer(salt="taskq_admin.bulk")


def wanted_by(query: Mapping[str, str]) -> Wanted:
    """Return what a list with these parameters shows, from its newest task on: pages limit nothing."""
    return replace(Wanted.of(query), before=None)


def begin(action: Action, wanted: Wanted, data: Mapping[str, Any], who: Who, site: str) -> TaskRun:
    """Send the bulk task; return its row, unsaved if it has none yet.

    Raises ``ValueError`` for arguments to replace that are sensitive: they would stand in its row. And for an action
    that the task could not do, or that a task which does the same asks for: it would begin one after the other.
    """
    from taskq_admin.tasks import bulk

    _refuse_endless(action, who)
    _refuse_sensitive(data.get("update_kwargs") or {})
    newest = TaskRun.objects.using(settings.DATABASE).order_by("-id").values_list("pk", flat=True).first()
    job = Job(
        key=action.key,
        model=action.of,
        wanted=replace(wanted, before=(newest or 0) + 1),
        began=reading.now(),
        user=str(who.user.pk),
        by=who.name,
        reason=who.reason,
        data=dict(data),
        site=site,
        language=translation.get_language() or "en",
    )
    task_id = str(uuid.uuid4())
    kwargs = asdict(job.sealed(task_id))
    # Somebody waits for it, and what waits in the same queue may be what it is to revoke.
    options: dict[str, Any] = {"queue": settings.ADMIN_QUEUE, "priority": _PRIORITY}
    result: AsyncResult[Any] = bulk.apply_async(kwargs=kwargs, task_id=task_id, **options)
    run = TaskRun.objects.using(settings.DATABASE).filter(task_id=result.id).first()
    return run or TaskRun(task_id=result.id, name=bulk.name)


def _refuse_endless(action: Action, who: Who) -> None:
    """Refuse what would hand ids of tasks to ``act``, which expects others, such as an override that lacks a part."""
    if action.of != "taskrun" and action.on_tasks is None and action.in_steps is None:
        text = _("The action %(name)s has neither on_tasks nor in_steps, so no task can do it for as many as this.")
        raise ValueError(text % {"name": action.name})
    if who.bulk == _name_of(action):
        raise ValueError(_("A task that acts on many begins no other one that does the same."))


def _name_of(action: Action) -> str:
    return f"{action.of}.{action.key}"


def _refuse_sensitive(values: Mapping[str, Any]) -> None:
    sensitive = {name for task in list(tasks.values()) for name in task.sensitive}
    for name in values:
        if name in sensitive:
            text = _("%(name)s is a sensitive argument, which the row of the task that acts on many would show.")
            raise ValueError(text % {"name": name})


def run(job: Job, tell: Callable[[Any], None], is_stopped: Callable[[], bool]) -> dict[str, Any]:
    """Act, a chunk at a time; return what was done. Raises ``PermissionDenied`` if the user may not (any more)."""
    with translation.override(job.language):
        action, who, wanted = _permitted(job)
        job = replace(job, wanted=wanted)
        total, steps = _steps_of(job, action, who)
        state: dict[str, Any] = {"done": 0, "total": total, "stopped": False, "counts": {}, "report": ""}
        counts: Counter[str] = Counter()
        for step in steps:
            if is_stopped():
                state["stopped"] = True
                break
            looked_at, became = step()
            counts.update({key: count for key, count in became.items() if count})
            done = state["done"] + looked_at
            state |= {"done": done, "total": max(total, done), "counts": dict(counts), "report": words(counts)}
            tell(state)
        return state | {"report": _final(counts, stopped=state["stopped"]), "by": job.by, "reason": job.reason}


def _steps_of(job: Job, action: Action, who: Who) -> tuple[int, Iterable[Step]]:
    """Return how many rows there are, and what is done to them, step by step."""
    if action.in_steps is not None:
        return action.in_steps(job.wanted, job.data, who)
    steps = (partial(_act, ids, passed_over, job, action, who) for ids, passed_over in _chunks(job, action))
    return _total(job.wanted), steps


def _act(ids: list[str], passed_over: int, job: Job, action: Action, who: Who) -> tuple[int, Mapping[str, int]]:
    began = time.monotonic()
    became = (action.on_tasks or action.act)(ids, job.data, who).counts if ids else {}
    if became.get("unfinished") == len(ids) > 0:
        # They had ended a moment ago: another bulk task is at the same place. Let it go ahead, since rows that are
        # found done cost less than rows that are waited for.
        time.sleep(min(max(BEHIND, 2 * (time.monotonic() - began)), 20 * BEHIND))
    return len(ids) + passed_over, {**became, "passed": passed_over}


def is_revoked(task_id: str) -> bool:
    """Tell whether the running bulk task is to stop: its message says so, or with another broker what is kept."""
    messages = Message.objects.using(settings.DATABASE).filter(task_id=task_id)
    kept = Revocation.objects.using(settings.DATABASE).filter(revoked_id=task_id)
    return messages.exclude(revoked="").exists() or kept.exists()


def _final(counts: Mapping[str, int], *, stopped: bool) -> str:
    text = words(counts)
    return _("%(report)s; stopped before its end") % {"report": text} if stopped else text


def _permitted(job: Job) -> tuple[Action, Who, Wanted]:
    """Return the action, who acts, and what may be looked for, if it is still allowed."""
    action, user = get(job.model, job.key), _user(job.user)
    if getattr(django_settings, "ROOT_URLCONF", None):
        list(get_resolver().url_patterns)  # imports them: a site may be made there
    request: Any = HttpRequest()
    request.user, request.current_app = user, job.site
    pages = pages_of(request, job.model)
    if pages is None:
        raise PermissionDenied(_("The worker knows no admin site %(site)s that shows tasks.") % {"site": job.site})
    allowed = user is not None and pages.admin_site.has_permission(request)
    if action is None or not allowed or not is_permitted(request, action):
        raise PermissionDenied(_("%(user)s may not do this (any more).") % {"user": job.by})
    who = Who(user, job.reason, request, since=job.began, bulk=_name_of(action))
    return action, who, pages.allowed(request, job.wanted)[0]


def _user(pk: str) -> Any:
    users = get_user_model()
    try:
        return users._default_manager.get(pk=pk)
    except (users.DoesNotExist, ValueError, ValidationError):
        return None


def _total(wanted: Wanted) -> int:
    found = find(wanted)
    return len(found.ids) if found.rows is None else found.rows.count()


def _chunks(job: Job, action: Action) -> Iterator[tuple[list[str], int]]:
    """Yield ids of tasks, and how many are passed over: the action does not apply to them (any more).

    Tasks that have ended since it was asked for are left out: these did not match then.
    """
    not_since = Q(finished_at=None) | Q(finished_at__lt=job.began)
    for ids in walk(job.wanted, CHUNK):
        rows = {row.task_id: row for row in runs.listed().filter(not_since, task_id__in=ids)}
        applies = action.applies if action.on_tasks is None else _has_failed_itself
        left = [task_id for task_id in ids if task_id in rows and applies(rows[task_id])]
        if rows:
            yield left, len(rows) - len(left)


def _has_failed_itself(run: TaskRun) -> bool:
    """Tell whether a task of a workflow ran and failed: one that failed with another was never put into a queue."""
    return run.state == states.FAILURE and bool(run.queue)


def first(wanted: Wanted, most: int) -> tuple[list[str], CappedCount]:
    """Return the ids of the newest ``most`` tasks that match, and how many match."""
    found = find(wanted)
    rows = (
        TaskRun.objects.using(settings.DATABASE).filter(pk__in=found.ids[:most]) if found.rows is None else found.rows
    )
    return list(rows.order_by("-id").values_list("task_id", flat=True)[:most]), found.count
