"""The pages of the site. The one that matters sends a task in the transaction that stores its report."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from .forms import ReportForm
from .models import Report
from .tasks import build


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """Show the form and the recent reports; store a new report and send its task."""
    form = ReportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        return redirect(order(form))
    return render(request, "reports/index.html", {"form": form, "reports": Report.objects.defer("source")[:20]})


def order(form: ReportForm) -> Report:
    """Store the report and send the task that builds it: both, or after an error neither."""
    with transaction.atomic():
        report = form.save()
        report.task_id = build.delay(report.pk).id
        report.save(update_fields=["task_id"])
    return report


@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one report: its progress, its summary, or why there is none."""
    report = get_object_or_404(Report, pk=pk)
    context = {"report": report, "progress": progress(report), "result": report.result}
    return render(request, "reports/detail.html", context)


@require_GET
def status(request: HttpRequest, pk: int) -> JsonResponse:
    """Tell the page's script how far the report is."""
    return JsonResponse(progress(get_object_or_404(Report.objects.defer("source"), pk=pk)))


def progress(report: Report) -> dict[str, Any]:
    """Return the state of the report's task, and in numbers how far it is."""
    state = report.state
    meta = report.result.info if state == "PROGRESS" else None
    # Between the look at the state and the look at its metadata the task may have ended.
    numbers = meta if isinstance(meta, dict) and "total" in meta else {}
    return {
        "state": state,
        "done": numbers.get("done", 0),
        "total": numbers.get("total", 0),
        "finished": state in {"SUCCESS", "FAILURE", "REVOKED"},
        "summary": report.summary,
    }
