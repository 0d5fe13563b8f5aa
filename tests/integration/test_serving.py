"""Probes of a worker that starts, loses its database, and stops; and of two that want the same address."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from pathlib import Path

import pytest

from taskq.models import Message
from taskq.timezones import now
from tests.support.jobs import tasks as jobs
from tests.support.processes import Processes
from tests.support.proxy import Proxy
from tests.support.serving import ask, metrics
from tests.support.waiting import wait_until

from .conftest import StartWorker

#: What these tests look at is the same on each database.
sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def has_sentence(answer: tuple[int, str], status: int, words: str) -> bool:
    return answer[0] == status and words in answer[1]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_readiness_follows_the_database(
    database_url: str, processes: Processes, start_worker: StartWorker, notes: Path, go_on: Path
) -> None:
    with Proxy(database_url) as proxy:
        processes.environment["DATABASE_URL"] = proxy.url
        worker = start_worker(SERVE="127.0.0.1:0")
        wait_until(lambda: ask(worker, "/ready")[0] == 200, what="the worker to be ready")
        proxy.stop()
        wait_until(
            lambda: has_sentence(ask(worker, "/ready"), 503, "The database does not answer"), what="a 503 with a reason"
        )
        assert ask(worker, "/live")[0] == 200
        errors = "taskq_worker_database_errors_total"
        wait_until(lambda: metrics(worker)[errors].value() > 0, what="the errors to be counted")
        proxy.start()
        wait_until(lambda: ask(worker, "/ready")[0] == 200, what="the worker to be ready again")
        running = jobs.progress.delay(str(notes), str(go_on))
        wait_until(lambda: running.state == "PROGRESS", what="the task to run")
        worker.popen.terminate()
        wait_until(lambda: has_sentence(ask(worker, "/ready"), 503, "stopping"), what="a 503 while it stops")
        go_on.touch()
        assert worker.wait() == 0, worker.log


@sqlite
def test_an_address_in_use_is_told_before_anything_starts(start_worker: StartWorker, processes: Processes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = processes.start("taskworker", "--serve", address)
        assert worker.wait() == 1
    assert f"CommandError: --serve (TASKQ_SERVE): can't listen on {address}: Address already in use" in worker.log
    assert "Traceback" not in worker.log
    assert "concurrency" not in worker.log  # the banner


@sqlite
def test_a_unix_socket_has_the_name_of_its_worker(start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("--serve", f"unix:{tmp_path}/%n.sock", "-n", "w7")
    path = tmp_path / "w7.sock"
    with closing(http.client.HTTPConnection("localhost")) as connection, closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.connect(str(path))
        connection.sock = sock
        connection.request("GET", "/live")
        assert connection.getresponse().status == 200
    assert worker.stop() == 0
    assert not path.exists()


@sqlite
def test_messages_that_are_not_authentic_are_counted(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker(SERVE="127.0.0.1:0", SIGNING=True)
    forged = {"task": jobs.note.name, "id": "forged"}
    Message.objects.using(alias).create(
        queue="taskq", task_id="forged", headers=str(forged).replace("'", '"'), body="[]", properties="{}",
        created_at=now(),
    )  # fmt: skip
    dropped = lambda: metrics(worker)["taskq_worker_messages_dropped_total"].value(reason="not_authentic")  # noqa: E731
    wait_until(lambda: dropped() == 1, what="the message to be counted")


@sqlite
def test_a_loop_that_hangs_is_not_live(alias: str, start_worker: StartWorker, notes: Path) -> None:
    # The watchdog ends the worker after twice the time.
    worker = start_worker(SERVE="127.0.0.1:0", WATCHDOG_TIMEOUT=16, environment={"TEST_HANG": "loop"})
    assert ask(worker, "/live") == (200, "The loop makes progress.\n")
    jobs.note.delay(str(notes), 1)
    wait_until(lambda: has_sentence(ask(worker, "/live"), 503, "The loop has made no progress"), what="a 503")
    assert ask(worker, "/ready")[0] == 503
    assert metrics(worker)["taskq_worker_slots"].value() == 1
    worker.kill()
