"""Whether the pages of the admin stay quick with a large history.

    python -m tests.benchmarks.admin_pages [--database postgresql|sqlite] [--tasks 1000000] [--only taskrun]
        [--slowest 30] [--as superuser|staff]

Fills a database (``million``), and opens the pages with Django's test client, as a superuser, or as staff with the
permissions of the group "taskq admins": all that links of the section lead to, each choice of each filter, searches of
each kind, also for what is not there, and what each action asks of one row, of several, and of all that match. Prints
the slowest pages with their best time of three, of which how much the processor worked here, and the number of queries,
which includes two for session and user, and for staff two for permissions. The status is 1 if one takes more than 0.3 s
(the overview 0.2 s) or more than 12 queries, or answers with an error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from tests.support.crawling import links, pattern

from . import million
from .project import prepared

if TYPE_CHECKING:
    from django.test import Client

SECTION = "/admin/taskq/"
MOST_SECONDS, MOST_SECONDS_OF_OVERVIEW, MOST_QUERIES = 0.3, 0.2, 12
#: Addresses that differ in ids or values only are opened so often.
ALIKE = 8
#: What is typed into text fields of forms that search: what is there, and what is not.
TYPED = (
    "00000000-0000-7000-8000-000000500033",  # an id
    "000500033",  # its tail
    million.NAMES[7],  # a name
    "shop.mail",  # its beginning
    "absent.name",
    "order_id=500033",  # an argument
    "order_id=-1",
    "TimeoutError",
    "error:TimeoutError",
    "does not answer",
    "nothing of this kind",
    "taskq@host3",
    "\x00'<b>%_",
)


class _Opened(NamedTuple):
    """A page and what it cost."""

    seconds: float
    processor: float
    queries: int
    status: int
    address: str


def main() -> int:
    """Fill, open, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="sqlite")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="open only addresses that hold this text")
    parser.add_argument("--slowest", type=int, default=30, help="how many pages to print")
    parser.add_argument("--as", dest="user", choices=["superuser", "staff"], default="superuser")
    options = parser.parse_args()
    with prepared(options.database, "testproject"):
        began = time.perf_counter()
        million.fill(options.tasks)
        print(f"{options.database}: {options.tasks:,} tasks, filled in {time.perf_counter() - began:.0f} s", flush=True)
        client = _client(options.user)
        found = sorted([*_opened(client, options.only), *_asked(client, options.only)], reverse=True)
    bad = [each for each in found if _is_bad(each)]
    for each in sorted({*found[: options.slowest], *bad}, reverse=True):
        mark = "  <-- too much" if _is_bad(each) else ""
        times = f"{each.seconds * 1000:8.0f} ms ({each.processor * 1000:4.0f} here)"
        print(f"{times} {each.queries:3} queries  {each.status}  {each.address}{mark}")
    print(f"{len(found)} pages, {len(bad)} of them too slow, with too many queries, or with an error")
    return 1 if bad else 0


def _is_bad(page: _Opened) -> bool:
    most = MOST_SECONDS_OF_OVERVIEW if urlsplit(page.address).path == SECTION else MOST_SECONDS
    return page.seconds > most or page.queries > MOST_QUERIES or page.status >= 500


def _opened(client: Client, only: str) -> Iterator[_Opened]:
    """Open page after page, as they are found."""
    waiting, seen, alike = deque([SECTION]), {SECTION}, Counter[str]()
    while waiting:
        address = waiting.popleft()
        opened, answer = _measured(partial(client.get, address), address)
        if only in address:
            yield opened
        for link in links(address, answer, SECTION, TYPED):
            if link not in seen and alike[pattern(link)] < ALIKE:
                seen.add(link)
                alike[pattern(link)] += 1
                waiting.append(link)


def _asked(client: Client, only: str) -> Iterator[_Opened]:
    """Have each action ask before it acts."""
    from taskq.models import Node, Queue, TaskRun, Worker
    from tests.support.confirming import SEVERAL, questions

    roots = Node.objects.order_by("-id").values_list("root_id", flat=True)[:2000]
    ids = {
        "taskrun": list(TaskRun.objects.order_by("-id").values_list("task_id", flat=True)[:SEVERAL]),
        "node": list(dict.fromkeys(roots))[:SEVERAL],
        "queue": [*million.QUEUES, *Queue.objects.values_list("name", flat=True)][:SEVERAL],
        "worker": list(Worker.objects.values_list("pk", flat=True)[:SEVERAL]),
    }
    for address, data, name in questions(ids):
        if only in name:
            opened, _ = _measured(partial(client.post, address, data), name)
            # An answer that leads on has asked nothing, and has said why.
            yield opened


def _client(kind: str) -> Client:
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.test import Client

    user = User.objects.create(username="boss", is_staff=True, is_superuser=kind == "superuser")
    if kind == "staff":
        call_command("taskgroups", verbosity=0)
        user.groups.add(Group.objects.get(name="taskq admins"))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def _measured(send: Callable[[], Any], address: str) -> tuple[_Opened, Any]:
    """Open a page three times; the first time counts too."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    times = []
    for _ in range(3):
        connection.queries_log.clear()  # it is bounded, and then counts nothing
        with CaptureQueriesContext(connection) as queries:
            began, worked = time.perf_counter(), time.thread_time()
            answer = send()
            times.append((time.perf_counter() - began, time.thread_time() - worked))
    return _Opened(*min(times), len(queries), answer.status_code, address), answer


if __name__ == "__main__":
    sys.exit(main())
