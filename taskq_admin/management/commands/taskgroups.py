"""``manage.py taskgroups``: make the groups "taskq viewers", "taskq operators" and "taskq admins"."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, transaction

from taskq_admin.permissions import of_groups


class Command(BaseCommand):
    """Makes groups, adds permissions, and takes none away: it can be run again after an upgrade."""

    help = "Make the groups 'taskq viewers', 'taskq operators' and 'taskq admins', with the permissions of the admin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the database of ``auth``."""
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="alias of the database that has the groups")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the groups; ``CommandError`` if permissions are missing."""
        alias = options["database"]
        rows = Permission.objects.using(alias).filter(content_type__app_label__in=("taskq", "admin"))
        known = {row.codename: row for row in rows}
        with transaction.atomic(alias):
            for name, codenames in of_groups().items():
                if missing := sorted(codenames.difference(known)):
                    raise CommandError(f"There are no permissions {', '.join(missing)}: run migrate first.")
                group, made = Group.objects.using(alias).get_or_create(name=name)
                has = set(group.permissions.values_list("codename", flat=True))
                new = sorted(codenames - has)
                group.permissions.add(*(known[codename] for codename in new))
                self.stdout.write(f"{name}: {'made, ' if made else ''}{len(new)} permissions added")
