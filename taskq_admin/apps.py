"""The app's configuration: the admin's autodiscovery imports ``taskq_admin.admin``, which registers the pages."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _

from .queries.progress import BULK, NOT_AGAIN

#: What the rows of taskq's models are called in the language of the user, one and several.
_NAMES = {
    "TaskRun": (_("task"), _("tasks")),
    "Node": (_("workflow"), _("workflows")),
    "Queue": (_("queue"), _("queues")),
    "Worker": (_("worker"), _("workers")),
    "Error": (_("error"), _("errors")),
}


class TaskqAdminConfig(AppConfig):
    """``taskq_admin``: pages for tasks, queues and workers in the Django admin. It has no tables of its own."""

    name = "taskq_admin"
    verbose_name = _("Task queue pages")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Give taskq's models names that are translated, since migrations know those of the models alone.

        And keep the task that acts on many from being run again.
        """
        from taskq import control  # it needs models

        for model, (one, several) in _NAMES.items():
            options = apps.get_model("taskq", model)._meta
            options.verbose_name, options.verbose_name_plural = one, several
        control.never_retry(BULK, NOT_AGAIN)
