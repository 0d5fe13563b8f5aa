"""Traces by OpenTelemetry: add ``taskq.contrib.opentelemetry`` to ``INSTALLED_APPS`` (extra ``opentelemetry``)."""
