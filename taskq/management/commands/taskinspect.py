"""``manage.py taskinspect``: ask workers what they do."""

from __future__ import annotations

from taskq.management.remote import FamilyCommand


class Command(FamilyCommand):
    """Parses, calls, prints."""

    help = "Ask workers what they do. Exits with 69 if none answers."
    kind = "inspect"
