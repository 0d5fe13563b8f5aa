"""``manage.py taskcontrol``: have workers do something."""

from __future__ import annotations

from taskq.management.remote import FamilyCommand


class Command(FamilyCommand):
    """Parses, calls, prints."""

    help = "Have workers do something. Exits with 69 if none answers."
    kind = "control"
