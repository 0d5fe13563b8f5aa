"""The settings of a worker and its surroundings, as ``conf`` and ``report`` show them. No passwords."""

from __future__ import annotations

import platform
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings as django_settings

from taskq import __version__
from taskq.conf import SETTINGS, masked_url, settings

#: Packages whose versions matter to a bug report.
_PACKAGES = ("Django", "kombu", "amqp", "redis", "psycopg", "mysqlclient")
#: Words in the names of values that nobody is to read.
_SECRETS = ("password", "passwd", "secret", "token", "api_key", "apikey", "access_key", "private_key", "credential")
_PLAIN = (str, int, float, bool, type(None))


def values(*, with_defaults: bool = False) -> dict[str, Any]:
    """Return the settings by their names in Django's: those that are set, or all."""
    return {
        row.django_name: _secret(row.name, getattr(settings, row.name))
        for row in SETTINGS
        if with_defaults or hasattr(django_settings, row.django_name)
    }


def _shown(value: Any) -> Any:
    """Return a value as JSON has it, with the passwords of URLs masked."""
    if isinstance(value, str):
        return masked_url(value) if "://" in value else value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _secret(str(key), each) for key, each in value.items()}
    return value if isinstance(value, _PLAIN) else repr(value)


def _secret(key: str, value: Any) -> Any:
    is_secret = value is not None and any(word in key.lower() for word in _SECRETS)
    return "********" if is_secret else _shown(value)


def report() -> str:
    """Return a text like that of Celery's ``report``."""
    versions = " ".join(f"{name.lower()}:{found}" for name in _PACKAGES if (found := _version(name)))
    lines = [
        "",
        f"software -> taskq:{__version__} py:{platform.python_version()} {versions}",
        f"platform -> system:{platform.system()} arch:{', '.join(platform.architecture())}",
        f"            kernel version:{platform.release()} imp:{platform.python_implementation()}",
        f"settings -> transport:{settings.BROKER_URL.partition('://')[0]} results:database '{settings.DATABASE}'",
        "",
        *(f"{name}: {value!r}" for name, value in values().items()),
    ]
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
