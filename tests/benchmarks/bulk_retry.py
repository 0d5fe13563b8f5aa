"""How long it takes to retry all failed tasks from the admin, while two people press the button.

    python -m tests.benchmarks.bulk_retry [--database postgresql|sqlite] [--tasks 100000]

Fills a database with failed tasks, presses *Retry* for all of them twice, with Django's test client, and runs a real
worker. Prints how long each press took, how long the worker needed for both, how long a page took meanwhile at most,
and what the two say that they did. The status is 1 if a press took more than 1 s, the whole more than 60 s, a page
more than 1 s, or a task was retried other than once.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

from .project import TASK, Worker, prepared

if TYPE_CHECKING:
    from django.test import Client

LIST = "/admin/taskq/taskrun/"
#: The queue of the failed tasks, which no worker reads: they wait when they have been retried.
QUEUE = "slow"
MOST_SECONDS_TO_BEGIN, MOST_SECONDS, MOST_SECONDS_OF_A_PAGE = 1.0, 60.0, 1.0


def main() -> int:
    """Fill, press, wait, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--tasks", type=int, default=100_000)
    options = parser.parse_args()
    # The worker has to know what the site has signed.
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    with prepared(options.database, "testproject"):
        fill(options.tasks)
        with Worker("testproject", 2):
            time.sleep(3)
            return measured(options.tasks)


def fill(tasks: int) -> None:
    """Write failed tasks with arguments of 800 bytes."""
    from django.utils import timezone

    from taskq.models import TaskRun

    now = timezone.now()
    arguments = json.dumps([["x" * 790], {}])
    failure = json.dumps({"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"})
    TaskRun.objects.bulk_create(
        (
            TaskRun(
                task_id=f"00000000-0000-7000-8000-{number:012d}",
                name=TASK["testproject"],
                queue=QUEUE,
                state="FAILURE",
                arguments=arguments,
                result=failure,
                created_at=now,
                finished_at=now,
            )
            for number in range(tasks)
        ),
        batch_size=2000,
    )


def measured(tasks: int) -> int:
    """Press twice, look at pages until both have ended, and print."""
    from taskq.models import Attempt, Message, TaskRun

    client = _client()
    began = time.perf_counter()
    presses = [_press(client) for _ in range(2)]
    slowest = 0.0
    bulks = TaskRun.objects.filter(name="taskq_admin.bulk")
    while bulks.filter(finished_at=None).exists() and time.perf_counter() - began < 10 * MOST_SECONDS:
        slowest = max(slowest, _seconds(client))
        time.sleep(0.2)
    whole = time.perf_counter() - began
    waiting = Message.objects.filter(queue=QUEUE).count()
    attempts = Attempt.objects.count()
    print(f"begun in {presses[0] * 1000:.0f} and {presses[1] * 1000:.0f} ms, done in {whole:.1f} s")
    print(f"the list of tasks meanwhile: {slowest * 1000:.0f} ms at most")
    for run in bulks:
        print(f"{run.state}: {run.result}"[:300])
    print(f"{waiting:,} messages, {attempts:,} attempts of {tasks:,} tasks")
    right = waiting == attempts == tasks
    quick = max(presses) <= MOST_SECONDS_TO_BEGIN and whole <= MOST_SECONDS and slowest <= MOST_SECONDS_OF_A_PAGE
    return 0 if right and quick else 1


def _client() -> Client:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client


def _press(client: Client) -> float:
    began = time.perf_counter()
    answer = client.post(f"{LIST}do/retry/", {"scope": "all", "filter": "tab=failed", "confirmed": "1"})
    assert answer.status_code == 302, answer.content
    return time.perf_counter() - began


def _seconds(client: Client) -> float:
    began = time.perf_counter()
    assert client.get(LIST).status_code == 200
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
