"""``Env``: settings from environment variables. Projects import it from ``taskq.conf``."""

from __future__ import annotations

from typing import Any, overload

import environ  # type: ignore[import-untyped, unused-ignore]
from django.core.exceptions import ImproperlyConfigured

from taskq.broker_urls import broker_url_problem


class Env(environ.Env):  # type: ignore[misc, unused-ignore]  # no type hints in some releases
    """django-environ's ``Env`` with a reader for broker URLs."""

    @overload
    def broker_url(self, var: str = ..., *, default: None) -> str | None: ...
    @overload
    def broker_url(self, var: str, default: None) -> str | None: ...
    @overload
    def broker_url(self, var: str = ..., default: Any = ...) -> str: ...
    def broker_url(self, var: str = "TASKQ_BROKER_URL", default: Any = environ.Env.NOTSET) -> str | None:
        """Return the broker URL in the environment variable ``var``: ``env.broker_url(default="django://")``.

        Raises ``ImproperlyConfigured`` if it is not set and there is no ``default``, or if it is no broker URL.
        A ``default`` of ``None`` is returned.
        """
        url: str | None = self.str(var, default=default)
        if url is None:
            return None
        if problem := broker_url_problem(url):
            raise ImproperlyConfigured(f"{var}: {problem}")
        return url
