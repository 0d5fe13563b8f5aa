"""The app's configuration: the admin's autodiscovery imports ``taskq_admin.admin``, which registers the pages."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TaskqAdminConfig(AppConfig):
    """``taskq_admin``: pages for tasks, queues and workers in the Django admin. It has no tables of its own."""

    name = "taskq_admin"
    verbose_name = _("Task queue pages")
    default_auto_field = "django.db.models.BigAutoField"
