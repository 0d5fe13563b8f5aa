"""The page that runs a task for the first time: ``admin:taskq_taskrun_run``, with ``?task=<name>``.

GET shows the form, and changes nothing; POST sends. Both ask for ``taskq.run_taskrun``, and for the permission to view
tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from taskq.models import TaskRun
from taskq_admin import parameters
from taskq_admin.actions import log
from taskq_admin.actions.base import Action, Report, Who
from taskq_admin.actions.run_form import RunForm, described
from taskq_admin.answers import as_json, wants_json
from taskq_admin.badges import short
from taskq_admin.queries import runs

from .confirm import Confirm

if TYPE_CHECKING:
    from taskq_admin.admin.runs import TaskRunAdmin

TEMPLATE = "admin/taskq_admin/run_form.html"
#: For its permission and the log; no page offers it as a button of a row.
RUN = Action(
    key="run",
    of="taskrun",
    label=gettext_lazy("Run from a form"),
    permission="taskq.run_taskrun",
    act=lambda ids, data, who: Report(),
    flag=ADDITION,
)


def serve(model_admin: TaskRunAdmin, request: HttpRequest) -> HttpResponse:
    """Show the choice of tasks or the form of one, or send it. Raises 403 and 404."""
    if not (model_admin.has_view_permission(request) and model_admin.has_action_permission(request, RUN)):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    name = request.GET.get("task", "")
    known = parameters.choices()
    if name and name not in known:
        raise Http404(_("This process knows no task %(name)s.") % {"name": short(name)})
    if not name:
        return _show(model_admin, request, None, known)
    if request.method == "POST":
        form, confirm = RunForm(name, request.POST), Confirm("", request.POST)
        if all([form.is_valid(), confirm.is_valid()]) and form.send():
            return _sent(model_admin, request, form, confirm.cleaned_data["reason"])
    else:
        form, confirm = RunForm(name), Confirm("")
    return _show(model_admin, request, form, known, confirm)


def _show(
    model_admin: TaskRunAdmin,
    request: HttpRequest,
    form: RunForm | None,
    known: list[str],
    confirm: Confirm | None = None,
) -> HttpResponse:
    title = _("Run %(name)s") % {"name": short(form.name)} if form else _("Run a task")
    context = {"form": form, "confirm": confirm, "names": known}

    def data() -> dict[str, Any]:
        return described(form) if form else {"tasks": known}

    return model_admin.render(request, TEMPLATE, title, context, data)


def _sent(model_admin: TaskRunAdmin, request: HttpRequest, form: RunForm, reason: str) -> HttpResponse:
    pk = runs.pk_of(form.task_id)
    # A task may keep no row: its entry in the log has its id all the same.
    row = TaskRun(pk=pk, task_id=form.task_id, name=form.name)
    log.write(RUN, [row], Who(request.user, reason))
    if wants_json(request):
        return as_json({"task_id": form.task_id})
    messages.success(request, _("Sent as %(id)s.") % {"id": form.task_id}, fail_silently=True)
    site = model_admin.admin_site.name
    page = ("admin:taskq_taskrun_change", [pk]) if pk is not None else ("admin:taskq_taskrun_changelist", [])
    return HttpResponseRedirect(reverse(page[0], args=page[1], current_app=site))
