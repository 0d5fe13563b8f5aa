"""Checks of single settings: names, kinds, the time zone, limits, and unwise values in production."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, register
from django.core.exceptions import ImproperlyConfigured

from taskq.conf import SETTINGS, Setting, settings
from taskq.dotted import load_class
from taskq.setting import PREFIX

from . import ids

TAG = "taskq"
_ROWS = {row.name: row for row in SETTINGS}


def problem_of(row: Setting[Any]) -> str | None:
    """Return the error text for a setting's value of the wrong kind, or ``None``."""
    try:
        row.read(settings)
    except ImproperlyConfigured as exc:
        return str(exc)
    return None


def reads(*names: str) -> Callable[[Callable[..., Iterator[CheckMessage]]], Callable[..., list[CheckMessage]]]:
    """Decorate a check that reads these settings: it is skipped if ``check_kinds`` reports one of them."""

    def decorate(check: Callable[..., Iterator[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
        @wraps(check)
        def checked(*args: Any, **kwargs: Any) -> list[CheckMessage]:
            return [] if any(problem_of(_ROWS[name]) for name in names) else list(check(*args, **kwargs))

        return checked

    return decorate


@register(TAG)
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """E001: every ``TASKQ_*`` name in Django's settings is a setting of taskq."""
    known = {row.django_name for row in SETTINGS}
    unknown = sorted(name for name in dir(django_settings) if name.startswith(PREFIX) and name not in known)
    return [_unknown(name, known) for name in unknown]


def _unknown(name: str, known: set[str]) -> CheckMessage:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else None
    return ids.UNKNOWN_SETTING(f"{name} is not a setting of taskq.", hint)


@register(TAG)
def check_kinds(**kwargs: Any) -> list[CheckMessage]:
    """E002: every setting's value is of the right kind."""
    found = (problem_of(row) for row in SETTINGS if hasattr(django_settings, row.django_name))
    return [ids.WRONG_VALUE(problem) for problem in found if problem]


@register(TAG)
@reads("TIMEZONE")
def check_time_zone(**kwargs: Any) -> Iterator[CheckMessage]:
    """E009: the time zone is known."""
    from taskq import timezones

    try:
        timezones.zone()
    except ImproperlyConfigured as exc:
        yield ids.TIME_ZONE(str(exc))


@register(TAG)
@reads("TIME_LIMIT", "SOFT_TIME_LIMIT")
def check_time_limits(**kwargs: Any) -> Iterator[CheckMessage]:
    """E015: the soft limit is below the hard limit."""
    soft, hard = settings.SOFT_TIME_LIMIT, settings.TIME_LIMIT
    if soft is not None and hard is not None and soft >= hard:
        yield ids.TIME_LIMITS(f"TASKQ_SOFT_TIME_LIMIT ({soft:g} s) is not below TASKQ_TIME_LIMIT ({hard:g} s).")


@register(TAG)
@reads("POOL", "CUSTOM_POOL")
def check_custom_pool(**kwargs: Any) -> Iterator[CheckMessage]:
    """E019: the project's own pool is a class with a pool's methods. The worker looks for its base class too."""
    path = settings.CUSTOM_POOL
    if not path:
        if settings.POOL == "custom":
            yield ids.CUSTOM_POOL("TASKQ_POOL is 'custom', and TASKQ_CUSTOM_POOL is not set.")
        return
    try:
        found = load_class("TASKQ_CUSTOM_POOL", path)
    except ImproperlyConfigured as exc:
        yield ids.CUSTOM_POOL(str(exc))
        return
    if not hasattr(found, "hand_over") or inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ()))) or "hand_over, and others"
        yield ids.CUSTOM_POOL(f"TASKQ_CUSTOM_POOL names {path!r}, which lacks methods of a pool: {missing}.")


@register(TAG, deploy=True)
@reads("ALWAYS_EAGER")
def check_eager(**kwargs: Any) -> Iterator[CheckMessage]:
    """W006: tasks are sent, not run in the caller."""
    if settings.ALWAYS_EAGER:
        yield ids.EAGER("TASKQ_ALWAYS_EAGER is on: no task reaches a worker.")


@register(TAG, deploy=True)
@reads("RESULT_EXPIRES", "RESULT_FAILURE_EXPIRES")
def check_retention(**kwargs: Any) -> Iterator[CheckMessage]:
    """W007: old rows are deleted."""
    for name in ("RESULT_EXPIRES", "RESULT_FAILURE_EXPIRES"):
        if getattr(settings, name) is None:
            yield ids.KEPT_FOR_EVER(f"{PREFIX}{name} is off: rows of ended tasks are kept for ever.")
