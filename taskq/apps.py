"""The Django app: registers the checks and the kombu transport, and imports the projects' tasks."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TaskqConfig(AppConfig):
    """The app ``"taskq"`` in ``INSTALLED_APPS``."""

    name = "taskq"
    label = "taskq"
    verbose_name = _("Task queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks and transport, and import ``tasks.py`` of every app; import errors are raised."""
        from kombu.transport import TRANSPORT_ALIASES

        from taskq import checks, signals  # noqa: F401 - importing checks registers them, and they may import models
        from taskq.calls import registry
        from taskq.conf import settings

        # By name: a process that never opens a django:// connection never loads the transport.
        TRANSPORT_ALIASES.setdefault("django", "taskq.transport:Transport")
        signals.send(signals.import_modules, self)
        registry.autodiscover()
        if settings.SEND_SENT_EVENT:
            from taskq.events.sent import send_events

            send_events()
