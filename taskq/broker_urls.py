"""Validates and masks broker URLs, for the checks and the worker's banner; ``taskq.conf`` exports these functions.

Nothing here connects, and no error contains a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_SCHEME = re.compile(r"([A-Za-z][\w.+:-]*)://")
_PASSWORD = re.compile(r"(?<=://)([^:/?#@]*):.*@", re.DOTALL)
_BEFORE_HOST = re.compile(r".*@", re.DOTALL)
_SECRET_OPTION = re.compile(r"([?&][^=&#]*(?:password|passwd|secret|token|key)[^=&#]*=)[^&#]*", re.IGNORECASE)


def masked_url(url: str) -> str:
    """Return ``url`` with its passwords replaced by asterisks, for banners, logs and errors."""
    parts = re.split(r";(?=[A-Za-z][\w.+-]*://)", url)  # alternates, but not a ";" in a password
    return ";".join(_SECRET_OPTION.sub(r"\1********", _without_password(part)) for part in parts)


def _without_password(part: str) -> str:
    if _SCHEME.match(part):
        return _PASSWORD.sub(r"\1:********@", part)
    # Without a scheme the start of user and password is not known.
    return _BEFORE_HOST.sub("********@", part, count=1)


def url_in_file(variable: str, path: str) -> str:
    """Return the content of the file that an environment variable names. Raises ``ImproperlyConfigured``."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{variable}: {path!r} can't be read ({type(error).__name__}).") from error


def broker_url_problem(url: str) -> str | None:
    """Return the error in the form of a broker URL, with passwords masked, or ``None``."""
    for part in url.split(";"):
        if problem := _part_problem(part):
            return f"{masked_url(url)!r} {problem}"
    return None


def _part_problem(url: str) -> str | None:
    if not (found := _SCHEME.match(url)):
        return "has no scheme: write 'django://', 'redis://host:6379/0' or 'amqp://user:password@host//'."
    if found[1] == "django":
        good = re.fullmatch(r"django://[\w.-]*/?", url)
        return None if good else "is not 'django://' or 'django://' with the alias of a database."
    if not _known_scheme(found[1]):
        return f"has the unknown scheme {found[1]!r}."
    try:
        _ = urlsplit(url).port
    except ValueError:
        return "can't be read: quote user and password with urllib.parse.quote(..., safe='')."
    return None


def _known_scheme(scheme: str) -> bool:
    from kombu.transport import TRANSPORT_ALIASES  # costs more than the rest of this module

    return "." in scheme or scheme.partition("+")[0] in TRANSPORT_ALIASES
