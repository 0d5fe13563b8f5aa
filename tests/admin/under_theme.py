"""Opens every page of taskq's section in a project whose admin has another theme, or is a site of its own.

Run by ``test_themes`` as a program of its own, since a theme replaces Django's templates and admin site for good::

    python -m tests.admin.under_theme unfold

Prints the status and the address of each page, and of each what it misses.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from django.conf import settings

from tests.support.crawling import links, pattern


def main(theme: str) -> None:
    """Set Django up with the theme, fill its tables, and open the pages."""
    from testproject import settings as project

    values = {name: getattr(project, name) for name in dir(project) if name.isupper()}
    values["DATABASES"] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    if theme == "own":
        values["ROOT_URLCONF"] = "tests.admin.own_site"
    else:
        values["INSTALLED_APPS"] = [theme, *values["INSTALLED_APPS"]]
    settings.configure(**values)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    client = _filled()
    for address, page in _pages(client, "/ops/taskq/" if theme == "own" else "/admin/taskq/"):
        print(page.status_code, address, *_missing(page.content.decode()))


def _filled() -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    from taskq.models import Worker
    from testproject.traffic import Traffic

    Traffic().begin()
    now = datetime.now(UTC)
    Worker.objects.create(token="boot-1", name="taskq@one", started_at=now, seen_at=now)
    client = Client()
    with mock.patch("django.contrib.auth.models.update_last_login"):
        client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    return client


def _pages(client: Any, section: str) -> Iterator[tuple[str, Any]]:
    waiting, seen = deque([section]), {pattern(section)}
    while waiting:
        address = waiting.popleft()
        page = client.get(address)
        if "Location" not in page.headers:
            yield address, page
        for link in links(address, page, section):
            plain = link.split("?")[0]
            if pattern(plain) not in seen:
                seen.add(pattern(plain))
                waiting.append(link)


def _missing(html: str) -> list[str]:
    """Return what a page of taskq has to have and this one has not."""
    wanted = ("taskq_admin/taskq.css", "taskq_admin/refresh.js", 'id="content')
    return [f"without {part}" for part in wanted if part not in html]


if __name__ == "__main__":
    main(sys.argv[1])
