"""The Django app that installs the tracer."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured

from taskq import signals
from taskq.messages import tracing


class OpenTelemetryConfig(AppConfig):
    """Makes spans of sending and running, and has them exported when a process of the pool, or a worker, ends."""

    name = "taskq.contrib.opentelemetry"
    label = "taskq_opentelemetry"
    verbose_name = "Traces of taskq"

    def ready(self) -> None:
        """Install the tracer. Raises ``ImproperlyConfigured`` without the API of OpenTelemetry."""
        try:
            from .tracer import OpenTelemetryTracer, flush
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(
                "taskq.contrib.opentelemetry needs the API of OpenTelemetry: pip install 'taskq-django[opentelemetry]'."
            ) from error

        def on_end(**named: Any) -> None:
            flush()

        tracing.install(OpenTelemetryTracer())
        signals.worker_process_shutdown.connect(on_end, weak=False, dispatch_uid=self.label)
        signals.worker_shutdown.connect(on_end, weak=False, dispatch_uid=self.label)
