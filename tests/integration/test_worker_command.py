"""``manage.py taskworker`` from outside: its options, its banner, its files, and when it refuses to start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import sysconfig
from pathlib import Path

import pytest

from taskq.models import Worker
from testproject.arithmetic.tasks import add
from testproject.databases import configure
from tests.support import trees, workers
from tests.support.jobs import endings
from tests.support.processes import Processes
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
HOST = socket.gethostname()


def options_of(banner: str, name: str) -> str:
    """Return a value from the banner's first part."""
    match = re.search(rf"\.> {name}: +(.*)", banner)
    assert match is not None, banner
    return match[1].strip()


def test_banner_worker_row_and_taskhealth_agree_with_the_options(alias: str, processes: Processes) -> None:
    worker = workers.start_worker(processes, "-Q", "hipri,taskq")
    log = worker.log
    cpus = len(os.sched_getaffinity(0))
    assert f"-------------- taskq@{HOST} v" in log
    assert options_of(log, "broker") == "django://"
    assert options_of(log, "results") == "database 'default'"
    assert options_of(log, "concurrency") == f"{cpus} (processes)"
    assert options_of(log, "events").startswith("OFF")
    assert re.search(r"\[queues\]\n +\.> hipri +exchange=hipri\(direct\) key=hipri\n +\.> taskq +exchange=taskq", log)
    assert re.search(r"\[tasks\]\n(  \. [\w.]+\n)*  \. testproject\.arithmetic\.tasks\.add\n", log)
    assert not re.search(r"  \. (celery|taskq)\.", log)
    wait_until(lambda: len(trees.pool_children(worker.pid)) == cpus, what="a child for each CPU")
    assert add.delay(2, 2).get(timeout=60) == 4
    worker.wait_for_log("-Q names the queue 'hipri', which no route, no task and not TASKQ_QUEUES names")
    row = workers.worker_rows(alias).get()
    assert (row.name, row.pid) == (f"taskq@{HOST}", worker.pid)
    # The probe, on a worker that lives and on one that was killed.
    health = processes.run("taskhealth", **workers.as_environment({}))
    assert health.startswith(f"taskq@{HOST}: running, seen ")
    worker.kill()
    probe = processes.start("taskhealth", **workers.as_environment({}))
    assert probe.wait() == 1
    assert probe.log == f"CommandError: taskq@{HOST}: process {worker.pid} is gone\n"


def test_banner_lists_no_tasks_at_log_level_warning(alias: str, processes: Processes) -> None:
    worker = workers.start_worker(processes, "-c", "1", "-l", "warning", ready=False)
    worker.wait_for_log(rf"WARNING/MainProcess\] taskq@{HOST} has started\.")
    worker.stop()
    assert "[tasks]" not in worker.log


def test_banner_of_the_solo_pool_shows_concurrency_1(alias: str, processes: Processes) -> None:
    worker = workers.start_worker(processes, "-c", "2", "-P", "solo", environment={"TEST_APPS": "tests.support.jobs"})
    assert options_of(worker.log, "concurrency") == "1 (solo)"


def test_results_in_another_database_than_messages_are_refused(
    database_url: str, processes: Processes, tmp_path: Path
) -> None:
    databases = {"default": configure(database_url), "other": configure(f"sqlite:///{tmp_path}/other.sqlite3")}
    settings = {"DATABASES": databases, "TASKQ_DATABASE": "other", "TASKQ_BROKER_URL": "django://default"}
    environment = {**workers.as_environment({}), "TEST_SETTINGS": json.dumps(settings)}
    worker = processes.start("taskworker", **environment)
    assert worker.wait() == 1
    assert re.search("'default' the broker, and TASKQ_DATABASE is 'other'", worker.log), worker.log
    assert "Traceback" not in worker.log


def test_database_that_commits_nothing_is_refused(database_url: str, processes: Processes) -> None:
    settings = {"DATABASES": {"default": configure(database_url) | {"AUTOCOMMIT": False}}}
    environment = {**workers.as_environment({}), "TEST_SETTINGS": json.dumps(settings)}
    worker = processes.start("taskworker", "--skip-checks", **environment)
    assert worker.wait() == 1
    assert "AUTOCOMMIT is off, so that nothing is ever committed." in worker.log
    assert "Traceback" not in worker.log


def test_node_name_pidfile_and_logfile_are_expanded(alias: str, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker(
        "-n", "w1@%h", "--pidfile", f"{tmp_path}/run/%n.pid", "--logfile", f"{tmp_path}/%p.log", ready=False
    )
    log = tmp_path / f"w1@{HOST}.log"
    pidfile = tmp_path / "run" / "w1.pid"
    wait_until(lambda: log.exists() and " ready." in log.read_text(), what="the worker to be ready")
    assert pidfile.read_text() == f"{worker.pid}\n"
    row = wait_until(workers.worker_rows(alias).first, what="the worker's row")
    assert row is not None
    assert row.name == f"w1@{HOST}"
    second = start_worker("-n", "w1", "--pidfile", str(pidfile), ready=False)
    assert second.wait() == 1
    assert f"a worker runs already, as process {worker.pid}" in second.log
    assert pidfile.exists()
    assert worker.stop() == 0
    assert not pidfile.exists()


@pytest.mark.parametrize(("template", "main", "child"), [("w%I.log", "w.log", "w-1.log"), ("%i.log", "0.log", "1.log")])
def test_logfile_template_gives_each_process_its_own_log(
    alias: str, start_worker: StartWorker, tmp_path: Path, template: str, main: str, child: str
) -> None:
    worker = start_worker("-f", f"{tmp_path}/{template}", ready=False)
    assert endings.log.delay("said by a task").get(timeout=60) is None
    # A worker takes tasks before its mailbox is there, and it is ready.
    wait_until(lambda: " ready.\n" in (tmp_path / main).read_text(), what="the worker to be ready")
    assert worker.stop() == 0
    assert "said by a task" in (tmp_path / child).read_text()
    assert "said by a task" not in (tmp_path / main).read_text()
    assert "child 0]" in (tmp_path / child).read_text()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_plain_logger_of_a_task_is_shown_with_its_task(alias: str, start_worker: StartWorker, pool: str) -> None:
    worker = start_worker("-l", "info", "-P", pool, environment={"TEST_APPS": "tests.support.jobs"})
    result = endings.log_plainly.delay("said plainly")
    result.get(timeout=60)
    worker.wait_for_log(rf"INFO/.*\] {re.escape(endings.log_plainly.name)}\[{result.id}\]: said plainly\n")
    assert worker.stop() == 0
    assert worker.log.count("said plainly") == 1


def test_breakpoint_in_prefork_points_to_the_solo_pool(alias: str, start_worker: StartWorker) -> None:
    start_worker()
    with pytest.raises(RuntimeError, match="-P solo"):
        endings.stop_in_debugger.delay().get(timeout=60)


def test_quiet_option_prints_no_banner(alias: str, processes: Processes) -> None:
    worker = workers.start_worker(processes, "-q", "-c", "1")
    assert "[queues]" not in worker.log


def test_purge_option_empties_the_workers_queues_once(alias: str, processes: Processes) -> None:
    old, other = endings.square.delay(2), endings.square.apply_async((2,), queue="hipri")
    worker = workers.start_worker(processes, "--purge", "-c", "1")
    assert "purge: Erased 1 messages from the queue.\n" in worker.log
    assert (old.state, other.state) == ("REVOKED", "PENDING")
    worker.send(signal.SIGHUP)
    wait_until(lambda: worker.log.count(" ready.\n") == 2, what="the worker to be ready again")
    assert endings.square.delay(3).get(timeout=60) == 9
    assert worker.stop() == 0
    assert worker.log.count("purge:") == 1


def test_executable_option_runs_the_worker_with_that_python(alias: str, processes: Processes, tmp_path: Path) -> None:
    python = tmp_path / "python-of-ours"
    python.symlink_to(sys.executable)
    environment = {"PYTHONPATH": sysconfig.get_path("purelib")}
    worker = workers.start_worker(processes, "-c", "1", "--executable", str(python), environment=environment)
    assert Path(f"/proc/{worker.pid}/cmdline").read_bytes().startswith(os.fsencode(python) + b"\0manage.py\0")
    assert endings.square.delay(3).get(timeout=60) == 9
    worker.send(signal.SIGHUP)
    wait_until(lambda: worker.log.count(" ready.\n") == 2, what="the worker to be ready again")
    assert worker.stop() == 0


def test_pidfile_left_by_a_dead_process_is_replaced(alias: str, start_worker: StartWorker, tmp_path: Path) -> None:
    pidfile = tmp_path / "w.pid"
    pidfile.write_text("4194305\n")
    worker = start_worker("--pidfile", str(pidfile), ready=False)
    worker.wait_for_log(r" ready\.$")
    assert pidfile.read_text() == f"{worker.pid}\n"
    worker.kill()
    assert pidfile.exists()


def test_pidfile_option_naming_another_file_is_refused(alias: str, start_worker: StartWorker, tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text("DEBUG = False\n")
    worker = start_worker("--pidfile", str(settings), ready=False)
    assert worker.wait() == 1
    assert f"{settings} is no pid file: remove it, or change --pidfile." in worker.log
    assert settings.read_text() == "DEBUG = False\n"


def test_detached_worker_runs_restarts_and_stops(alias: str, processes: Processes, tmp_path: Path) -> None:
    pidfile, logfile = tmp_path / "w.pid", tmp_path / "w.log"
    options = ["-Dc1", "--pidfile", str(pidfile), "--logfile", str(logfile), "--workdir", str(tmp_path)]
    starter = workers.start_worker(processes, *options, ready=False)
    assert starter.wait() == 0
    wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), what="the pid file")
    pid = int(pidfile.read_text())
    try:
        assert pid != starter.pid
        assert os.getsid(pid) not in {os.getsid(0), starter.pid}
        assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
        assert endings.who.delay().get(timeout=60)["hostname"] == f"taskq@{HOST}"
        assert workers.worker_rows(alias).get().pid == pid
        again = workers.start_worker(processes, *options, ready=False)
        assert again.wait() == 1
        assert f"as process {pid}" in again.log
        # A worker takes tasks before its mailbox is there, and it is ready.
        wait_until(lambda: " ready.\n" in logfile.read_text(), what="the worker to be ready")
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: re.search(r'File ".*node\.py", line \d+ in run$', logfile.read_text(), re.M), what="stacks")
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: logfile.read_text().count(" ready.\n") == 2, what="the worker to be ready again")
        assert endings.square.delay(3).get(timeout=60) == 9
        assert pidfile.read_text() == f"{pid}\n"
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not trees.alive(pid), what="the worker to end")
    assert not pidfile.exists()
    assert "has ended" in logfile.read_text()
    assert not Worker.objects.using(alias).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-P", "threads", "--time-limit", "3"], "The threads pool can't kill a task: --time-limit"),
        (["-P", "asyncio", "--concurrency", "2000"], "The asyncio pool runs at most 1000 tasks at a time"),
        (["-b", "redis://"], "workers take tasks from django://"),
        (["--soft-time-limit", "5", "--time-limit", "3"], "beyond --time-limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_are_refused_before_the_worker_detaches(
    alias: str, processes: Processes, tmp_path: Path, options: list[str], words: str
) -> None:
    pidfile = tmp_path / "w.pid"
    starter = workers.start_worker(processes, "-D", "--pidfile", str(pidfile), *options, ready=False)
    assert starter.wait() == 1
    assert words in starter.log
    assert not pidfile.exists()


def test_startup_error_of_a_detached_worker_is_shown_at_once(alias: str, processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "w.log").mkdir()
    options = ["-D", "--pidfile", str(tmp_path / "w.pid"), "--logfile", str(tmp_path / "w.log")]
    starter = workers.start_worker(processes, *options, ready=False)
    assert starter.wait() == 1
    assert f"CommandError: [Errno 21] Is a directory: '{tmp_path}/w.log'" in starter.log
    assert not (tmp_path / "w.pid").exists()


def test_error_at_the_restart_of_a_detached_worker_is_logged(alias: str, processes: Processes, tmp_path: Path) -> None:
    app = tmp_path / "deployed"
    app.mkdir()
    (app / "__init__.py").touch()
    logfile = tmp_path / "w.log"
    environment = {"PYTHONPATH": str(tmp_path), "TEST_APPS": "tests.support.jobs,deployed"}
    options = ["-D", "-c", "1", "--pidfile", str(tmp_path / "w.pid"), "--logfile", str(logfile)]
    assert workers.start_worker(processes, *options, ready=False, environment=environment).wait() == 0
    pid = int((tmp_path / "w.pid").read_text())
    wait_until(lambda: " ready.\n" in logfile.read_text(), what="the worker to be ready")
    (app / "tasks.py").write_text("no python")
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: not trees.alive(pid), what="the worker to end")
    assert "SyntaxError" in logfile.read_text()


def test_reload_restarts_the_worker_after_a_change(alias: str, processes: Processes, tmp_path: Path) -> None:
    app = tmp_path / "reloaded"
    app.mkdir()
    (app / "__init__.py").touch()
    source = 'from taskq import task\n\n\n@task(name="reloaded")\ndef reloaded():\n    return {!r}\n'
    (app / "tasks.py").write_text(source.format("before"))
    environment = {
        "PYTHONPATH": str(tmp_path),
        "TEST_APPS": "tests.support.jobs,reloaded",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    worker = workers.start_worker(processes, "--reload", "-c", "1", environment=environment)
    from taskq import send_task

    assert send_task("reloaded").get(timeout=60) == "before"
    (app / "tasks.py").write_text(source.format("afterwards"))
    worker.wait_for_log(
        r"tasks\.py has changed: the worker starts again\. It waits up to 30 s for its running tasks\.\n"
    )
    wait_until(lambda: worker.log.count(" ready.\n") == 2, what="the worker to be ready again")
    assert send_task("reloaded").get(timeout=60) == "afterwards"
    # A mistake ends the worker, not its supervisor.
    (app / "tasks.py").write_text("no python")
    worker.wait_for_log("SyntaxError")
    (app / "tasks.py").write_text(source.format("mended"))
    wait_until(lambda: worker.log.count(" ready.\n") == 3, what="the worker to be ready once more")
    everything = trees.whole(worker.pid, 4)  # with the worker, its fork server and a child
    assert worker.stop() == 0
    assert "The worker is to end. It waits up to 30 s for its running tasks.\n" in worker.log
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="all to be gone")


@pytest.mark.parametrize("ending", ["HUP", "QUIT", "KILL"])
def test_reload_supervisor_ends_its_worker_when_it_ends(alias: str, processes: Processes, ending: str) -> None:
    """Also one that was asked for with a short form, and not by manage.py."""
    processes.program = (sys.executable, "-m", "django")
    supervisor = workers.start_worker(processes, "--relo", "-c", "1")
    (worker,) = trees.children(supervisor.pid)
    assert workers.worker_rows(alias).get().pid == worker
    everything = trees.whole(supervisor.pid, 4)  # with the fork server and a child
    assert endings.environ.delay("TASKQ_STARTED_AS").get(timeout=60) is None
    supervisor.send(signal.Signals[f"SIG{ending}"])
    supervisor.wait()
    wait_until(lambda: not any(trees.alive(pid) for pid in everything), what="all to be gone")
    assert " has ended." in supervisor.log
    assert not Worker.objects.using(alias).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reload", "--detach"], "--reload is for development, .*does not go with --detach"),
        (["--reload", "--purge"], "--purge does not go with --reload"),
        (["-c", "0"], "is not a number from 1"),
        (["-l", "loud"], "is not one of DEBUG"),
        (["-P", "nosuch"], "invalid choice"),
        (["-Q", ","], "names nothing"),
        (["-n", "a@b@c"], "is not the name of a node"),
        (["--prefetch-multiplier", "-1"], "not a number from 0"),
        (["--time-limit", "nan"], "not a number of seconds above 0"),
        (["--max-tasks-per-child", "0"], "not a number from 1"),
        (
            ["-b", "amqp://guest:secret@127.0.0.1//"],
            r"(?s)--broker has a password.*TASKQ_BROKER_URL_FILE.*workers take tasks from django://.*\*\*",
        ),
        (["-b", "django://other"], "There is no database 'other' in DATABASES: change .*--broker"),
        (["-X", "taskq"], "No queue is left to read"),
        (["-D", "--umask", "9"], "not a mask"),
        (["-D", "--uid", "no-such-user"], "--uid: there is no user 'no-such-user'"),
        (["-D", "--gid", "no-such-group"], "--gid: there is no group 'no-such-group'"),
        (["-D", "--logfile", "/proc/no/such/file"], "No such file or directory: '/proc/no/such/file'"),
        (["--executable", "/no/such/python"], "No such file or directory: '/no/such/python'"),
        (["-D", "--workdir", "/no/such"], "No such file or directory: '/no/such'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_are_refused_with_a_message(start_worker: StartWorker, options: list[str], words: str) -> None:
    worker = start_worker(*options, ready=False)
    assert worker.wait() in {1, 2}
    assert re.search(words, worker.log), worker.log
    assert "Traceback" not in worker.log
    assert "secret" not in worker.log


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///{}/empty.sqlite3", r"lacks migrations of taskq \(0001_initial.*run manage.py migrate"),
        ("sqlite:///{}/no/such/directory", "does not say which migrations it has: unable to open"),
    ],
    ids=["without tables", "away"],
)
def test_database_without_tables_or_away_is_refused(processes: Processes, tmp_path: Path, url: str, words: str) -> None:
    worker = processes.start("taskworker", DATABASE_URL=url.format(tmp_path))
    assert worker.wait() == 1
    assert re.search(words, worker.log), worker.log
    assert "Traceback" not in worker.log
