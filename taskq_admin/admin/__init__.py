"""The pages, one ``ModelAdmin`` a module. Importing this registers them with the default admin site.

For a site of your own: ``site.register(TaskRun, TaskRunAdmin)`` and so on. What the pages show, and can do, is loaded
with the first one that is shown (``taskq_admin.late``).
"""

from __future__ import annotations

from django.contrib import admin

from taskq.models import Error, Node, Queue, TaskRun, Worker

from .errors import ErrorAdmin
from .queues import QueueAdmin
from .runs import TaskRunAdmin
from .workers import WorkerAdmin
from .workflows import WorkflowAdmin

__all__ = ["ErrorAdmin", "QueueAdmin", "TaskRunAdmin", "WorkerAdmin", "WorkflowAdmin"]

admin.site.register(TaskRun, TaskRunAdmin)
admin.site.register(Node, WorkflowAdmin)
admin.site.register(Queue, QueueAdmin)
admin.site.register(Worker, WorkerAdmin)
admin.site.register(Error, ErrorAdmin)
