"""Checks of the broker's URL, of serializers and of compressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, register

from taskq.conf import broker_url_problem, settings

from . import ids
from .values import TAG, reads

#: The package to install for a URL's scheme; kombu's extras have the names of its other schemes.
_EXTRAS = {
    **dict.fromkeys(("redis", "rediss", "sentinel"), "taskq-django[redis]"),
    **dict.fromkeys(("sqs", "SQS"), "taskq-django[sqs]"),
    **dict.fromkeys(("sqla", "sqlalchemy"), "kombu[sqlalchemy]"),
    **dict.fromkeys(("kafka", "confluentkafka"), "kombu[confluentkafka]"),
    "etcd": "python-etcd",
}
_INSTEAD_OF_LIBRABBITMQ = (
    "librabbitmq can't be built for Python 3.11 or later. Use amqp://, and for its speed have py-amqp compiled: "
    "CELERY_ENABLE_SPEEDUPS=1 pip install --no-binary amqp,vine amqp vine."
)
_SERIALIZER_EXTRAS = {"msgpack": "taskq-django[msgpack]", "yaml": "taskq-django[yaml]"}
_COMPRESSION_EXTRAS = {
    "zstd": "taskq-django[zstd]",
    "zstandard": "taskq-django[zstd]",
    "brotli": "taskq-django[brotli]",
}


_UNSIGNED = (
    "Whoever can write to taskq_message or taskq_scheduledmessage can run code in workers; whoever can write to "
    "taskq_taskrun can run code in workers, and in each process that reads a result."
)
_SIGNED = (
    "TASKQ_SIGNING is on, so whoever knows SECRET_KEY or one of SECRET_KEY_FALLBACKS, and can write to taskq's tables, "
    "can run code in workers, and in each process that reads a result."
)


@register(TAG)
@reads("BROKER_URL", "CONTROL_URL")
def check_broker_url(**kwargs: Any) -> Iterator[CheckMessage]:
    """E003: the broker URLs are well formed."""
    for name, url in _urls():
        if problem := broker_url_problem(url):
            yield ids.BROKER_URL(f"TASKQ_{name} {problem}")


def _urls() -> Iterator[tuple[str, str]]:
    """Yield the broker's URL, and that of remote control if it is another one, by the names of their settings."""
    yield "BROKER_URL", settings.BROKER_URL
    if settings.CONTROL_URL != settings.BROKER_URL:
        yield "CONTROL_URL", settings.CONTROL_URL


@register(TAG)
@reads("BROKER_URL", "CONTROL_URL", "BROKER_TRANSPORT_OPTIONS")
def check_broker_client(**kwargs: Any) -> Iterator[CheckMessage]:
    """E004: kombu can load its transport for the brokers."""
    for name, urls in _urls():
        if urls.startswith("django://") or broker_url_problem(urls):
            continue
        for url in urls.split(";"):
            if problem := _transport_problem(url, settings.BROKER_TRANSPORT_OPTIONS if name == "BROKER_URL" else {}):
                scheme = url.partition("://")[0].partition("+")[0]
                yield ids.BROKER_CLIENT(
                    f"TASKQ_{name}: kombu can't load its transport {scheme!r}: {problem}", _way_out(scheme)
                )


def _way_out(scheme: str) -> str:
    """Return what to install for the transport of a URL."""
    if scheme == "librabbitmq":
        return _INSTEAD_OF_LIBRABBITMQ
    return f"pip install '{_EXTRAS.get(scheme, f'kombu[{scheme.lower()}]')}'"


def _transport_problem(url: str, options: Mapping[str, Any]) -> str | None:
    """Return the reason why kombu can't make the transport for ``url``. Does not connect."""
    from kombu.connection import Connection

    try:
        connection: Any = Connection(url, transport_options=dict(options))
        _ = connection.transport
    except Exception as exc:  # kombu's transports raise ImportError, RuntimeError, even NameError
        return f"{type(exc).__name__}: {exc}"
    return None


@register(TAG)
@reads("SERIALIZER", "RESULT_SERIALIZER", "ACCEPT_CONTENT", "COMPRESSION")
def check_content(**kwargs: Any) -> Iterator[CheckMessage]:
    """E005, E006, W001: serializers and the compression exist, sent types are accepted, pickle is not."""
    from kombu.serialization import registry

    accepted = {registry.name_to_type.get(name, name) for name in settings.ACCEPT_CONTENT}
    for name in settings.ACCEPT_CONTENT:
        if "/" not in name and name not in registry.name_to_type:
            yield _unknown_serializer("ACCEPT_CONTENT", name)
    for setting in ("SERIALIZER", "RESULT_SERIALIZER"):
        name = getattr(settings, setting)
        if name not in registry._encoders:
            yield _unknown_serializer(setting, name)
        elif registry.name_to_type[name] not in accepted:
            yield ids.UNACCEPTED_SERIALIZER(f"TASKQ_{setting} is {name!r}, which TASKQ_ACCEPT_CONTENT does not accept.")
    if registry.name_to_type["pickle"] in accepted:
        yield ids.PICKLE(f"TASKQ_ACCEPT_CONTENT accepts pickle. {_SIGNED if settings.SIGNING else _UNSIGNED}")
    yield from _check_compression()


def _unknown_serializer(setting: str, name: str) -> CheckMessage:
    return unknown_serializer(f"TASKQ_{setting}", name)


def _check_compression() -> Iterator[CheckMessage]:
    if settings.COMPRESSION is not None:
        yield from unknown_compression("TASKQ_COMPRESSION", settings.COMPRESSION)


def unknown_serializer(where: str, name: str) -> CheckMessage:
    """Return E005 for an unknown serializer in ``where``."""
    extra = _SERIALIZER_EXTRAS.get(name)
    hint = f"pip install '{extra}'" if extra else None
    return ids.SERIALIZER(f"{where}: kombu has no serializer {name!r}.", hint)


def unknown_compression(where: str, name: str) -> Iterator[CheckMessage]:
    """Yield E005 if the compression in ``where`` is unknown."""
    from kombu.compression import get_encoder

    try:
        get_encoder(name)
    except KeyError:
        extra = _COMPRESSION_EXTRAS.get(name)
        hint = f"pip install '{extra}'" if extra else "Use 'gzip', 'bzip2' or 'lzma'."
        yield ids.SERIALIZER(f"{where}: kombu has no compression {name!r}.", hint)
