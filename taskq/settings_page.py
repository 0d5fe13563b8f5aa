"""The page ``docs/reference/settings.md``, made of the table of settings (``python -m taskq.conf``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

#: The headings of the page, each before the setting of its name.
_SECTIONS = {
    "DATABASE": "Database and broker",
    "NAMESPACE": "Queues and routes",
    "SERIALIZER": "Messages",
    "TYPING": "Tasks",
    "IGNORE_RESULT": "States and results",
    "POOL": "Worker",
    "METRICS_TOKEN": "Metrics and probes",
    "TIMEZONE": "Time and logs",
}


class Row(Protocol):
    """A setting, as the page describes it."""

    name: str
    kind: Any
    meaning: str

    @property
    def django_name(self) -> str:
        """The name in Django's settings."""

    @property
    def default_words(self) -> str:
        """The default, as the page names it."""


def reference(settings: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# Settings"
    yield "\n<!-- Made by `python -m taskq.conf`: change taskq/conf.py instead. -->"
    yield "\nAll are names in Django's settings. Each is optional, and `override_settings` changes it in tests."
    for row in settings:
        if section := _SECTIONS.get(row.name):
            yield f"\n## {section}"
        yield f"\n### {row.django_name}\n\n{row.meaning}\n\nDefault: {row.default_words}. Must be {row.kind.words}."
