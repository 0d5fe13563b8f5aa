"""One setting: ``Setting``, a row of the table in ``taskq.conf``, which reads its value from Django's settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar, overload

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from taskq import value_kinds as kinds
from taskq.broker_urls import masked_url

PREFIX = "TASKQ_"
T = TypeVar("T")
_MISSING = object()
#: Held while a value is read and kept, or dropped.
lock = threading.RLock()
os.register_at_fork(after_in_child=lock._at_fork_reinit)  # type: ignore[attr-defined]


class From(NamedTuple, Generic[T]):
    """A default that is computed from another setting; ``words`` name that."""

    words: str
    compute: Callable[[Any], T]


class Setting(Generic[T]):
    """One row of the table: name (without the prefix), kind, default, meaning.

    A descriptor without ``__set__``: the first read puts the value into the instance's ``__dict__``,
    and later reads are plain attribute reads.
    """

    name: str

    def __init__(self, kind: kinds.Kind[T], default: T | From[T], meaning: str) -> None:
        self.kind = kind
        self.default = default
        self.meaning = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def django_name(self) -> str:
        """The name in Django's settings, with the prefix."""
        return PREFIX + self.name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        with lock:  # a value read before clear() must not be kept after it
            value = instance.__dict__[self.name] = self.read(instance)
        return value

    def read(self, instance: object) -> T:
        """Return the current value in Django's settings. Raises ``ImproperlyConfigured`` for a wrong value."""
        raw = getattr(django_settings, self.django_name, _MISSING)
        if raw is _MISSING:
            return self.default.compute(instance) if isinstance(self.default, From) else self.default
        try:
            return self.kind.convert(raw)
        except (TypeError, ValueError, OverflowError):
            shown = type(raw).__name__ if self.name == "METRICS_TOKEN" else repr(raw)
            if self.name in {"BROKER_URL", "CONTROL_URL"}:
                shown = masked_url(shown)
            raise ImproperlyConfigured(f"{self.django_name} must be {self.kind.words}, not {shown}.") from None
