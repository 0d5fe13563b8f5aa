"""An unmodified Flower 2.2 against taskq workers: what it shows, and what its buttons do."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from taskq import AsyncResult
from tests.support.jobs import endings, tasks
from tests.support.waiting import wait_until

from ..conftest import StartWorker
from .conftest import BROKERS, Shared

#: Seconds for one answer of Flower.
_PATIENCE = 60.0


class Flower:
    """Flower's HTTP interface, for one worker."""

    def __init__(self, shared: Shared) -> None:
        program = shared.programs.start("flower", "--address=127.0.0.1", "--port=0")
        self.url, self.node = program.wait_for_log(r"Visit me at (http://\S+)").group(1), shared.node

    def open(self, path: str, **form: Any) -> tuple[int, str]:
        """Return the status and the text of a page, or of what is posted if there is a form."""
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with urllib.request.urlopen(f"{self.url}{path}", data, timeout=_PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def press(self, path: str, message: str, **form: Any) -> bool:
        """Press a button, check what Flower says, and tell whether it says that the worker has obeyed.

        After a second without a reply it knows no reason, and the worker obeys somewhat later.
        """
        status, text = self.open(path, **(form or {"press": 1}))
        has_obeyed = bool(status == 200 and json.loads(text) == {"message": message})
        assert has_obeyed or text.rstrip("'").endswith("Unknown reason"), text
        return has_obeyed

    def online(self, node: str) -> bool | None:
        """Tell whether a worker is; ``None`` if Flower does not know it."""
        found: dict[str, bool] = json.loads(self.open("/api/workers?status=1")[1])
        return found.get(node)

    def worker(self) -> dict[str, Any]:
        """Return what the worker answers to Flower, now or, if that takes more than a second, before."""

        def found() -> dict[str, Any]:
            query = urllib.parse.urlencode({"refresh": 1, "workername": self.node})
            status, text = self.open(f"/api/workers?{query}")
            answers: dict[str, Any] = json.loads(text)[self.node] if status == 200 else {}
            return answers if answers.keys() >= {"stats", "active_queues", "registered"} else {}

        return wait_until(found, what="the worker's answers")

    def concurrency(self) -> int:
        """Return the size of the worker's pool."""
        size: int = self.worker()["stats"]["pool"]["max-concurrency"]
        return size

    def queues(self) -> set[str]:
        """Return the queues that the worker reads."""
        return {queue["name"] for queue in self.worker()["active_queues"]}

    def task(self, result: AsyncResult[Any]) -> dict[str, Any]:
        """Return what Flower has heard of a task."""
        status, text = self.open(f"/api/task/info/{result.id}")
        found: dict[str, Any] = json.loads(text) if status == 200 else {"state": None}
        return found

    def wait_for(self, result: AsyncResult[Any], state: str) -> dict[str, Any]:
        """Wait until a task is in a state, and return what Flower knows of it."""
        wait_until(lambda: self.task(result)["state"] == state, what=f"{state} of {result.id}")
        return self.task(result)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("shared", "by_button"), [(("redis", False), True), (("rabbitmq", False), False)], ids=BROKERS, indirect=["shared"]
)
def test_flower(start_worker: StartWorker, shared: Shared, by_button: bool, notes: Path, go_on: Path) -> None:
    flower = Flower(shared)
    worker = start_worker("-E", "-n", shared.node, "--prefetch-multiplier", "4", **shared.settings)
    # Within 5 seconds, says a benchmark of a machine that does nothing else.
    wait_until(lambda: flower.online(shared.node), what="the worker to be online")
    # Flower knows no buttons of a worker before that has answered.
    assert flower.worker()["stats"]["pid"] == worker.pid
    check_states(flower, notes, go_on)
    check_pages(flower)
    check_buttons(flower)
    check_revoking(flower, notes)
    if by_button:
        flower.press(f"/api/worker/shutdown/{shared.node}", "Shutting down!")
    else:
        worker.send(signal.SIGTERM)
    wait_until(lambda: flower.online(shared.node) is False, what="the worker to be offline")
    assert worker.wait() == 0


def check_states(flower: Flower, notes: Path, go_on: Path) -> None:
    running, waiting = (endings.wait_for_file.delay(str(notes), str(go_on)) for _ in range(2))
    failing, retried = endings.fail_with.delay("no"), tasks.retry_later.delay(str(notes))
    assert flower.wait_for(running, "STARTED")["worker"] == flower.node
    assert flower.wait_for(waiting, "RECEIVED")["args"] == repr((str(notes), str(go_on)))
    go_on.touch()
    ended = flower.wait_for(waiting, "SUCCESS")
    assert (ended["name"], ended["result"], type(ended["runtime"])) == (endings.wait_for_file.name, "'done'", float)
    assert ended["received"] <= ended["started"] <= ended["succeeded"]
    failed = flower.wait_for(failing, "FAILURE")
    assert (failed["exception"], failed["traceback"].splitlines()[-1]) == ("ValueError('no')", "ValueError: no")
    assert flower.wait_for(retried, "RETRY")["exception"] == "ValueError('not yet')"
    go_on.unlink()


def check_pages(flower: Flower) -> None:
    for path in ("/", "/tasks", f"/worker/{flower.node}", "/broker", "/metrics"):
        status, text = flower.open(path)
        assert status == 200, text
    assert flower.node in flower.open("/")[1]


def check_buttons(flower: Flower) -> None:
    node, name = flower.node, endings.square.name
    size = flower.concurrency()
    flower.press(f"/api/worker/pool/grow/{node}", f"Growing '{node}' worker's pool by 2", n=2)
    wait_until(lambda: flower.concurrency() == size + 2, what="a larger pool")
    flower.press(f"/api/worker/pool/shrink/{node}", f"Shrinking '{node}' worker's pool by 2", n=2)
    wait_until(lambda: flower.concurrency() == size, what="a smaller pool")
    flower.press(f"/api/worker/queue/add-consumer/{node}", "add consumer foo", queue="foo")
    wait_until(lambda: "foo" in flower.queues(), what="another queue")
    flower.press(f"/api/worker/queue/cancel-consumer/{node}", "no longer consuming from foo", queue="foo")
    wait_until(lambda: "foo" not in flower.queues(), what="no other queue")
    flower.press(f"/api/task/rate-limit/{name}", "new rate limit set successfully", workername=node, ratelimit="7/m")
    wait_until(lambda: f"{name} [rate_limit=7/m]" in flower.worker()["registered"], what="a rate limit")


def check_revoking(flower: Flower, notes: Path) -> None:
    """``go_on`` is not there: what waits for it runs until somebody ends it."""
    arguments = (str(notes), str(notes) + ".never")
    running, later = endings.wait_for_file.delay(*arguments), endings.square.apply_async((3,), countdown=3600)
    flower.wait_for(running, "STARTED")
    flower.press(f"/api/task/revoke/{running.id}", f"Revoked '{running.id}'", terminate="true", signal="SIGKILL")
    flower.press(f"/api/task/revoke/{later.id}", f"Revoked '{later.id}'")
    assert flower.wait_for(running, "REVOKED")["worker"] == flower.node
    assert flower.wait_for(later, "REVOKED")["name"] == endings.square.name
    path, limits = f"/api/task/timeout/{endings.wait_for_file.name}", {"soft": 0.2, "hard": 600}
    wait_until(
        lambda: flower.press(path, "time limits set successfully", workername=flower.node, **limits),
        what="the time limits",
    )
    stopped = flower.wait_for(endings.wait_for_file.delay(*arguments), "FAILURE")
    assert "SoftTimeLimitExceeded" in stopped["exception"]
