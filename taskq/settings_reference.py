"""The page ``docs/reference/settings.md``, made from the table of settings: ``python -m taskq.conf``."""

from __future__ import annotations

from collections.abc import Iterable

from taskq.conf import SETTINGS, From

_SECTIONS = {
    "DATABASE": "Database and broker",
    "NAMESPACE": "Queues and routes",
    "SERIALIZER": "Messages",
    "TYPING": "Tasks",
    "IGNORE_RESULT": "States and results",
    "POOL": "Worker",
    "TIMEZONE": "Time and logs",
}


def reference() -> Iterable[str]:
    """Yield the lines of ``docs/reference/settings.md``."""
    yield "# Settings"
    yield "\n<!-- Made by `python -m taskq.conf`: change taskq/conf.py instead. -->"
    yield "\nAll are names in Django's settings. Each is optional, and `override_settings` changes it in tests."
    for row in SETTINGS:
        if section := _SECTIONS.get(row.name):
            yield f"\n## {section}"
        default = row.default.words if isinstance(row.default, From) else f"`{row.default!r}`"
        yield f"\n### {row.django_name}\n\n{row.meaning}\n\nDefault: {default}. Must be {row.kind.words}."
