"""``manage.py taskstatus``: list the workers that answer."""

from __future__ import annotations

import json
from typing import Any

from taskq.management.remote import RemoteBase, nobody_answered, online, print_status


class Command(RemoteBase):
    """Parses, calls, prints."""

    help = "List the workers that answer. Exits with 69 if none does."

    def handle(self, *args: Any, **options: Any) -> None:
        """Ping, and print a line for each worker."""
        found = self.ask(options, "ping", {}, 1.0)
        if not found:
            raise nobody_answered()
        if options["json"]:
            self.stdout.write(json.dumps(found))
            return
        for node, reply in sorted(found.items()):
            print_status(self.stdout, node, reply)
        self.stdout.write(online(len(found)))
