"""Sets OpenTelemetry's SDK up in each process of the pool, as the documentation says."""

from __future__ import annotations

import os
from typing import Any

from django.apps import AppConfig

from taskq import signals


class TracedConfig(AppConfig):
    name = "tests.support.traced"
    label = "test_traced"

    def ready(self) -> None:
        signals.worker_process_init.connect(set_up, weak=False)


def set_up(**kwargs: Any) -> None:
    """Export in batches, after so long that only the end of the process can export them."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    out = open(os.environ["TEST_SPANS"], "a")  # noqa: SIM115 - until the process ends
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    trace.set_tracer_provider(provider)
