"""The settings of a worker and its surroundings, as ``conf`` and ``report`` show them. No passwords."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings as django_settings

from taskq import __version__
from taskq.conf import SETTINGS, masked_url, settings

#: Packages whose versions matter to a bug report.
_PACKAGES = ("Django", "kombu", "amqp", "redis", "psycopg", "mysqlclient")
#: Parts of the names of values that nobody is to read, wherever they stand in a name without its separators.
_ANYWHERE = (
    "password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "accesskey", "privatekey",
    "connectionstring", "signature",
)  # fmt: skip
#: The same for whole words, and for the ends and the beginnings of words.
_WORDS, _ENDS, _BEGINNINGS = frozenset({"dsn", "sas", "pw", "pin", "key", "keys"}), ("pass", "pwd"), ("auth",)
#: The keys that open nothing.
_HARMLESS = re.compile(r"(?:routing|binding|partition|primary)_keys?\Z")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
#: ``name=value`` inside of a text, such as in the connection string of a database.
_PAIR = re.compile(r"""([\w.-]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s;&,]+)""")
#: The same in JSON inside of a text, such as in the key file of a cloud service: ``"name": "value"``.
_JSON_PAIR = re.compile(r"""(["'])([\w.-]+)(\1\s*:\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,}\]"']+)""")
_MASK = "********"
_PLAIN = (str, int, float, bool, type(None))


def values(*, with_defaults: bool = False) -> dict[str, Any]:
    """Return the settings by their names in Django's: those that are set, or all."""
    return {
        row.django_name: masked(row.name, getattr(settings, row.name))
        for row in SETTINGS
        if with_defaults or hasattr(django_settings, row.django_name)
    }


def shown(value: Any) -> Any:
    """Return a value as JSON has it; secrets are masked by the names of their keys, also within texts."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(each) for each in value]
    if isinstance(value, Mapping):
        return {_text(str(key)): masked(str(key), each) for key, each in value.items()}
    return value if isinstance(value, _PLAIN) else _text(repr(value))


def _text(text: str) -> str:
    text = masked_url(text) if "://" in text else text
    text = _JSON_PAIR.sub(lambda m: f'{m[1]}{m[2]}{m[3]}"{_MASK}"' if is_secret(m[2]) else m[0], text)
    return _PAIR.sub(lambda found: f"{found[1]}{found[2]}{_MASK}" if is_secret(found[1]) else found[0], text)


def masked(name: str, value: Any) -> Any:
    """Return the value of a setting or an option as JSON has it, asterisks if its name says that it is a secret."""
    return _MASK if value is not None and not isinstance(value, bool) and is_secret(name) else shown(value)


def is_secret(name: str) -> bool:
    """Tell whether the name of a setting, or of a key in one, says that nobody is to read its value."""
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    if any(part in joined for part in _ANYWHERE):
        return True
    if _HARMLESS.search("_".join(words)):
        return False
    return any(word in _WORDS or word.endswith(_ENDS) or word.startswith(_BEGINNINGS) for word in words)


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
