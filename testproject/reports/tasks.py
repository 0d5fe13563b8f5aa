"""The task that builds a report, and tells how far it is."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings

from taskq import get_task_logger, task

from .analysis import summarise_csv, summarise_text
from .models import Report

logger = get_task_logger(__name__)


@task(bind=True)
def build(self: Any, report_id: int) -> dict[str, Any]:
    """Read the report's file and store the summary.

    It may run again after a crash, and then does the same once more: all it
    changes is the summary of this one report.
    """
    report = Report.objects.get(pk=report_id)
    summarise = summarise_csv if report.title.endswith(".csv") else summarise_text
    summary: dict[str, Any] = {}
    for done, total, summary in summarise(report.source):  # noqa: B007 - the last summary is the report
        self.update_state(state="PROGRESS", meta={"done": done, "total": total})
        time.sleep(settings.REPORTS_PAUSE)
    report.summary = summary
    report.save(update_fields=["summary"])
    logger.info("%s is done", report.title)
    return summary
