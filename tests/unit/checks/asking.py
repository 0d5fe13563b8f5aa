"""Asking a check what it finds, under some settings and with some connections."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from django.core.checks import CheckMessage
from django.test import override_settings

SQLITE_OPTIONS = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE", "timeout": 20}


def found(check: Callable[..., list[CheckMessage]], settings: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
    """Return the numbers of what a check finds under some settings."""
    with override_settings(**{f"TASKQ_{name}": value for name, value in (settings or {}).items()}):
        return [str(message.id).removeprefix("taskq.") for message in check(**kwargs)]


def messages(check: Callable[..., list[CheckMessage]], **settings: Any) -> list[CheckMessage]:
    with override_settings(**{f"TASKQ_{name}": value for name, value in settings.items()}):
        return check()


class Connections(dict[str, Any]):
    """Stands for ``django.db.connections``: aliases and what the checks ask of them."""

    @property
    def settings(self) -> set[str]:
        return set(self)


def sqlite_alias(name: object = ":memory:", **options: Any) -> SimpleNamespace:
    return SimpleNamespace(vendor="sqlite", settings_dict={"NAME": name, "OPTIONS": options})
