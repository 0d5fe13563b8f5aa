"""``Env``: settings from environment variables. Projects import it from ``taskq.conf``."""

from __future__ import annotations

from typing import Any, overload

import environ  # type: ignore[import-untyped, unused-ignore]
from django.core.exceptions import ImproperlyConfigured

from taskq.broker_urls import broker_url_problem, url_in_file


class Env(environ.Env):  # type: ignore[misc, unused-ignore]  # no type hints in some releases
    """django-environ's ``Env`` with a reader for broker URLs."""

    @overload
    def broker_url(self, var: str = ..., *, default: None) -> str | None: ...
    @overload
    def broker_url(self, var: str, default: None) -> str | None: ...
    @overload
    def broker_url(self, var: str = ..., default: Any = ...) -> str: ...
    def broker_url(self, var: str = "TASKQ_BROKER_URL", default: Any = environ.Env.NOTSET) -> str | None:
        """Return the broker URL in the environment variable ``var``, or else in the file that ``<var>_FILE`` names.

        Raises ``ImproperlyConfigured`` without both and a ``default``, and for what is no broker URL.
        """
        file: str | None = self.str(f"{var}_FILE", default=None)
        url: str | None = self.str(var, default=default if file is None else url_in_file(f"{var}_FILE", file))
        if url is not None and (problem := broker_url_problem(url)):
            raise ImproperlyConfigured(f"{var}: {problem}")
        return url
