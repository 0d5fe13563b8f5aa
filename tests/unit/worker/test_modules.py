"""The modules of a worker: all of its processes have the memory of each, so it loads none that it may never need."""

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


def test_worker_loads_no_module_that_it_may_never_need() -> None:
    loaded = set(subprocess.check_output([sys.executable, "-c", _PROGRAM], text=True).split())
    assert {"taskq.worker.node", "taskq.transport.channel", "taskq.control.commands"} <= loaded
    assert not loaded & _NOT_NEEDED
