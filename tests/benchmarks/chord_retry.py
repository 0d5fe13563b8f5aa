"""How long it takes to retry all failed members of a large chord from the admin, by one press of the button.

    python -m tests.benchmarks.chord_retry [--database postgresql|sqlite] [--members 20000] [--failed 3000]

Sends a chord, runs its members in this process, of which some fail, and presses *Retry what failed* with Django's test
client; a real worker does what the press has begun. Prints how long the press took, and how long it was until all
failed members wait again. The status is 1 if the press took more than 1 s, the whole more than 60 s, or if a member,
the counter or the body is not as it should be.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import time

from .project import Worker, prepared

PAGE = "/admin/taskq/node/do/retry/"
#: The queue of the chord, which no worker reads.
QUEUE = "flow"
MOST_SECONDS_TO_PRESS, MOST_SECONDS = 1.0, 60.0


def main() -> int:
    """Send, fail, press, wait, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--failed", type=int, default=3_000)
    options = parser.parse_args()
    # The worker has to know what the site has signed.
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    with prepared(options.database, "testproject"):
        root_id = fill(options.members, options.failed)
        with Worker("testproject", 2):
            time.sleep(3)
            return measured(root_id, options.members, options.failed)


def fill(members: int, failed: int) -> str:
    """Send a chord and run its members, of which the last ones fail; return the root of its nodes."""
    from taskq import chord
    from taskq.models import Node
    from taskq.store import claim, settle, workers
    from taskq.testing import runner
    from tests.support.jobs.flows import fragile, mended, same

    logging.getLogger("taskq.worker").setLevel(logging.CRITICAL)  # members fail on purpose
    mended.update({"fine"})
    keys = ["fine"] * (members - failed) + ["broken"] * failed
    header = [fragile.s(number, key).set(queue=QUEUE) for number, key in enumerate(keys)]
    chord(header, same.s().set(queue=QUEUE)).apply_async()
    token = workers.register("here")
    while messages := claim.claim(QUEUE, 500, token):
        ends = [runner.run(message, lambda *report: None).settlement for message in messages]
        settle.settle(token, [end for end in ends if end is not None])
    return str(Node.objects.order_by("id").values_list("root_id", flat=True)[0])


def measured(root_id: str, members: int, failed: int) -> int:
    """Press, wait until it is done, and print."""
    from django.contrib.auth.models import User
    from django.test import Client

    from taskq.models import Attempt, Group, Message, TaskRun

    client = Client()
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    assert client.get(PAGE, {"id": root_id}).status_code == 200  # who presses has seen the page
    print(f"{TaskRun.objects.filter(state='FAILURE').count():,} failures of {members:,} members and a body")
    began = time.perf_counter()
    answer = client.post(PAGE, {"id": root_id, "confirmed": "1"})
    press = time.perf_counter() - began
    assert answer.status_code == 302, answer.content
    bulk = TaskRun.objects.filter(name="taskq_admin.bulk")
    while bulk.filter(finished_at=None).exists() and time.perf_counter() - began < 10 * MOST_SECONDS:
        time.sleep(0.1)
    whole = time.perf_counter() - began
    for run in bulk:
        print(f"{run.state}: {run.result}"[:300])
    waiting, attempts = Message.objects.filter(queue=QUEUE).count(), Attempt.objects.count()
    group = Group.objects.get(size=members)
    print(f"pressed in {press * 1000:.0f} ms, done in {whole:.1f} s")
    print(f"{waiting:,} messages, {attempts:,} attempts, {group.remaining:,} members to come, failed: {group.failed}")
    right = waiting == attempts == group.remaining == failed and not group.failed
    right = right and not TaskRun.objects.filter(state="FAILURE").exists()
    return 0 if right and press <= MOST_SECONDS_TO_PRESS and whole <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
