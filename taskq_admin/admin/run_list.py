"""The list of tasks: its tabs, filters and columns. Base of ``runs.TaskRunAdmin``, which adds the page of one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import InvalidPage
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from taskq.models import Queue, TaskRun, Worker
from taskq_admin import queries
from taskq_admin.badges import ago, badge, breakable, short
from taskq_admin.queries import durations
from taskq_admin.queries.wanted import PARAMETERS, Wanted

from .filters import FILTERS
from .paginator import FoundPaginator
from .read_only import ReadOnlyAdmin

if TYPE_CHECKING:
    from taskq_admin.queries.listing import Detail
    from taskq_admin.queries.throughput import Span
    from taskq_admin.queries.times import Times

#: Users without this permission see no arguments, results and tracebacks.
PAYLOAD_PERMISSION = "view_taskrun_payload"
#: What only those may look for who may see it: an answer tells it too.
_PAYLOADS: dict[str, Any] = {"argument": None, "said": "", "exception": "", "error": "", "stamp": ""}


class RunList(ChangeList):
    """The tasks of one request: what was asked for (``wanted``), and what was found.

    ``details`` are what its page says besides the rows, ``problems`` sentences about what could not be heeded.
    """

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Find the rows. The filters only name the parameters, and refuse others."""
        super().get_queryset(request, exclude_parameters)
        self.may_see = self._admin.has_payload_permission(request)
        self.wanted, self.problems = self._admin.allowed(request, Wanted.of(request.GET.dict()))
        self.found = queries.matching.find(self.wanted)
        return queries.runs.listed()

    @property
    def _admin(self) -> RunListAdmin:
        assert isinstance(self.model_admin, RunListAdmin)
        return self.model_admin

    def get_results(self, request: HttpRequest) -> None:
        """Read one page, and what is to be said of its tasks. Raises ``IncorrectLookupParameters`` beyond the last."""
        self.paginator = FoundPaginator(self.found, self.list_per_page)
        self.result_count = self.paginator.count
        self.multi_page = self.result_count > self.list_per_page
        try:
            page = self.paginator.page(self.page_num if self.multi_page else 1)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        self.result_list: Sequence[TaskRun] = list(page.object_list)
        self.full_result_count = None
        self.can_show_all = self.show_full_result_count = self.show_admin_actions = False
        self.details = queries.listing.details(self.result_list) if self.may_see else {}
        for run in self.result_list:
            run.listed = self  # type: ignore[attr-defined]

    def detail(self, run: TaskRun) -> Detail:
        """Return what is to be said of a task."""
        return self.details.get(run.pk) or queries.listing.Detail()

    @property
    def looked_at(self) -> str:
        """The sentence that says how far was looked, empty if an index has answered."""
        if self.found.looked_at is None:
            return ""
        text = _now("No index answers this: only the newest %(count)s rows were looked at.")
        return text % {"count": f"{self.found.looked_at:,}"}

    @cached_property
    def times(self) -> list[tuple[Span, Times]]:
        """How long the runs of one task wait and run, if the list is that of a task."""
        return [] if self.wanted.unfit else queries.times.of_task(self.wanted.name)

    @property
    def empty(self) -> str:
        """What would fill an empty list."""
        if self.wanted.is_narrowed:
            return _now("No task meets all of this.")
        return str(queries.tabs.tab_for(self.wanted.tab).empty)

    def filters_shown(self) -> list[tuple[str, str, str]]:
        """Return the parameters that limit the list: name, value, and the address without it."""
        return [
            (name, short(value), self.get_query_string(remove=[name, "before"]))
            for name in PARAMETERS
            if name not in ("tab", "before", "q") and (value := self.params.get(name, ""))
        ]

    def link(self, **limits: str) -> str:
        """Return the address of the list with these limits, within the tab."""
        tab = {"tab": self.wanted.tab} if self.wanted.tab else {}
        return f"?{urlencode({**tab, **limits})}"


class RunListAdmin(ReadOnlyAdmin[TaskRun]):
    """The tasks, newest first."""

    # Methods only: Django sorts by ?o= whatever column is a model's field.
    list_display = ("pick", "task", "status", "queued", "handled", "sent", "waited", "ran")
    list_display_links = None
    list_filter = FILTERS
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("task_id",)
    change_list_template = "admin/taskq_admin/run_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class that finds the rows."""
        return RunList

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskRun]:
        """Return all tasks without their large columns."""
        return queries.runs.listed()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskRun], search_term: str
    ) -> tuple[QuerySet[TaskRun], bool]:
        """Leave the rows to ``queries.matching``."""
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, and above what waits the queues that nobody reads, to who may see queues and workers."""
        told = self.may_view(request, Queue) and self.may_view(request, Worker) and self.has_view_permission(request)
        waits = request.GET.get("tab", "") in ("", "waiting") and not Wanted.of(request.GET.dict()).is_narrowed
        unread = queries.queues.unread() if told and waits else []
        return super().changelist_view(request, {"unread": unread, **(extra_context or {})})

    def has_payload_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may see arguments, results and tracebacks. Override for a rule of your own."""
        declared = dict(TaskRun._meta.permissions)
        return PAYLOAD_PERMISSION not in declared or request.user.has_perm(f"taskq.{PAYLOAD_PERMISSION}")

    def allowed(self, request: HttpRequest, wanted: Wanted) -> tuple[Wanted, list[str]]:
        """Return what the user may look for of what was asked for, and sentences about the rest."""
        problems = list(wanted.problems)
        asked = [name for name in _PAYLOADS if getattr(wanted, name)]
        if asked and not self.has_payload_permission(request):
            # Nothing, and not everything: who acts upon what is listed must not act upon more.
            problems.append(_now("You have no permission to look for arguments, errors and stamps."))
            wanted = replace(wanted, **_PAYLOADS, unfit=True)
        return wanted, problems

    def list_data(self, cl: ChangeList) -> dict[str, Any]:
        """Return a page of the list as plain values, with what its tasks raised and how far they are."""
        assert isinstance(cl, RunList)
        data = super().list_data(cl)
        for row, run in zip(data["rows"], cl.result_list, strict=True):
            found = cl.detail(run)
            row["error"] = {"key": found.error, "exception": found.exception, "message": found.message}
            row["progress"] = found.progress and {"percent": found.progress.percent, "words": found.progress.words}
            if not found.exception:
                row["error"] = None
        data |= {"looked_at": cl.found.looked_at, "older": cl.found.older, "problems": cl.problems}
        return data | ({"times": queries.times.by_span(cl.times)} if cl.times else {})

    @admin.display(description="")
    def pick(self, run: TaskRun) -> SafeString:
        """A box to select the task with, of the form that ``taskq_list_actions`` writes."""
        return format_html(
            '<input type="checkbox" name="id" value="{}" form="taskq-act" aria-label="{}">',
            run.task_id,
            _now("Select %(task)s %(id)s") % {"task": short(run.name), "id": short(run.task_id)},
        )

    @admin.display(description=_("task"))
    def task(self, run: TaskRun) -> SafeString:
        """What it is, and what went wrong: the name, broken between its words if at all, the id, the error."""
        name = breakable(short(run.name or "-"))
        page = reverse("admin:taskq_taskrun_change", args=[run.pk], current_app=self.admin_site.name)
        shown = format_html(
            '<a class="taskq-name" href="{}">{}</a> <a class="taskq-id" href="{}" title="{}">{}</a>',
            page, name, page, short(run.task_id), _tail(run.task_id),
        )  # fmt: skip
        cl: RunList = run.listed  # type: ignore[attr-defined]
        return shown + _workflow(run, cl) + _said(cl.detail(run), cl)

    @admin.display(description=_("state"))
    def status(self, run: TaskRun) -> SafeString:
        """The state, coloured, and how often it was retried; a task that is told to run is no waiting one."""
        state = badge(queries.runs.shown_state(run))
        if not run.retries:
            return state
        times = _now("try %(number)s") % {"number": run.retries + 1}
        return format_html('{} <span class="taskq-since">{}</span>', state, times)

    @admin.display(description=_("queue"))
    def queued(self, run: TaskRun) -> SafeString:
        """The queue, as a filter."""
        return _limit(run, queue=run.queue)

    @admin.display(description=_("worker"))
    def handled(self, run: TaskRun) -> SafeString:
        """The worker once there is one, as a filter."""
        return _limit(run, worker=run.worker)

    @admin.display(description=_("sent"))
    def sent(self, run: TaskRun) -> SafeString:
        """How long ago it was sent; of one that is due later, when."""
        if run.eta is not None and run.started_at is None and run.finished_at is None:
            return format_html("{} {}", _now("due"), ago(run.eta))
        return ago(run.created_at)

    @admin.display(description=_("waited"))
    def waited(self, run: TaskRun) -> str:
        """How long it was due before it started."""
        return durations.words(queries.runs.waited(run))

    @admin.display(description=_("ran"))
    def ran(self, run: TaskRun) -> str:
        """How long it ran."""
        return durations.words(run.runtime)


def _tail(task_id: str) -> str:
    """Return the end of an id, where ids that were made at one time differ."""
    return task_id if len(task_id) <= 9 else f"…{task_id[-8:]}"


def _limit(run: TaskRun, **limit: str) -> SafeString:
    (value,) = limit.values()
    if not value:
        return SafeString("")
    return format_html('<a href="{}">{}</a>', run.listed.link(**limit), short(value))  # type: ignore[attr-defined]


def _workflow(run: TaskRun, cl: RunList) -> SafeString:
    """Return the link to the other tasks of its workflow."""
    if run.root_id in ("", run.task_id) and not run.group_id:
        return SafeString("")
    limit = {"root": run.root_id} if run.root_id else {"group": run.group_id}
    return format_html(' <a class="taskq-since" href="?{}">{}</a>', urlencode(limit), _now("workflow"))


def _said(found: Detail, cl: RunList) -> SafeString:
    """Return the lines below the name: the exception, which leads to those like it, or how far the task is."""
    if found.exception or found.message:
        limit = {"error": found.error} if found.error else {"exception": found.exception}
        kind = format_html('<a href="?{}">{}</a>', urlencode({"tab": "failed", **limit}), short(found.exception))
        text = format_html(": {}", found.message) if found.message else ""
        return format_html('<div class="taskq-why">{}{}</div>', kind, text)
    if found.progress is not None:
        return format_html(
            '<div class="taskq-share"><progress max="100" value="{}" aria-label="{}"></progress> {}</div>',
            int(found.progress.percent), _now("Progress"), found.progress.words,
        )  # fmt: skip
    return SafeString("")
