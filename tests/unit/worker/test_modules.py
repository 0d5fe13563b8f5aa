"""The modules of a worker: all of its processes have the memory of each, so it loads none that it may never need.

Nor what only pages of the admin need: Django imports each app's ``admin``, and in its checks all template tags.
"""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["django.contrib.contenttypes", "taskq"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
import taskq.worker.main
from taskq.control.service import services
from taskq.events.service import services as event_services
from taskq.worker.pools.registry import pool_class
from taskq.worker.remote.connection import load_transport

pool_class("prefork"), services(), event_services(tasks=True, interval=2.0), load_transport()
print(*sys.modules)
"""
_PROGRAM_WITH_PAGES = """
import os, sys
os.environ.update(DJANGO_SETTINGS_MODULE="testproject.settings", DATABASE_URL="sqlite:///:memory:")
import django
from django.core.checks import run_checks

django.setup()
run_checks()
print(*sys.modules)
from taskq_admin.actions import register
from taskq_admin.actions.base import ACTIONS
print(*(key for _, key in ACTIONS))
"""
#: What only callers, waiting tasks, other pools and options need.
_NOT_NEEDED = {
    "http.server",
    "taskq.control.caller",
    "taskq.control.inspector",
    "taskq.control.retrying",
    "taskq.eager",
    "taskq.events.kept_logs",
    "taskq.events.state",
    "taskq.metrics",
    "taskq.results.listener",
    "taskq.store.retry_workflow",
    "taskq.tasks.pydantic_models",
    "taskq.worker.pools.child_asyncio",
    "taskq.worker.pools.shared_pool",
    "taskq.worker.pools.threads",
    "taskq_admin",
}
#: What only pages need.
_OF_PAGES = {
    "taskq.control.retrying",
    "taskq.store.backlog",
    "taskq.store.retry_workflow",
    "taskq_admin.actions",
    "taskq_admin.charts.workflow",
    "taskq_admin.parameters",
    "taskq_admin.queries.matching",
    "taskq_admin.queries.queues",
    "taskq_admin.queries.runs",
    "taskq_admin.queries.workflows",
    "taskq_admin.views.action",
    "taskq_admin.views.overview",
    "taskq_admin.views.run_page",
}


def test_worker_loads_no_module_that_it_may_never_need() -> None:
    loaded = set(subprocess.check_output([sys.executable, "-c", _PROGRAM], text=True).split())
    assert {"taskq.worker.node", "taskq.transport.channel", "taskq.control.commands"} <= loaded
    assert not loaded & _NOT_NEEDED


def test_pages_are_loaded_when_they_are_shown_and_actions_of_a_project_after_those_of_taskq() -> None:
    loaded, actions = subprocess.check_output([sys.executable, "-c", _PROGRAM_WITH_PAGES], text=True).splitlines()
    assert {"taskq_admin.admin.runs", "taskq_admin.templatetags.taskq_actions"} <= set(loaded.split())
    assert not _OF_PAGES & set(loaded.split())
    assert {"retry", "pause", "ping"} <= set(actions.split())
