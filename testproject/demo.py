"""``make demo``: the site and a worker on SQLite, real tasks, and their results.

``python -m testproject.demo`` leaves the site running until Ctrl-C. The logs of the site and of the worker go to files.
With ``--once`` the database is a temporary one, and the program ends by itself:
with status 0 when every result was right.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process gets to end when it is asked to.
PATIENCE = 30
_ENDING = f"\nWaits up to {PATIENCE} s for the site and for running tasks. Ctrl-C again ends them at once.\n".encode()


def main() -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testproject.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="check the results and end")
    parser.add_argument("--port", type=int, default=8000, help="where the site listens (with --once any free port)")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            return _run(stack, options)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130 if options.once else 0


def _interrupt(number: int, frame: object) -> None:
    # Not print(): the signal may come while the program prints.
    os.write(sys.stdout.fileno(), _ENDING)
    raise KeyboardInterrupt


def _run(stack: ExitStack, options: argparse.Namespace) -> int:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskq-demo-")))
    database = (directory if options.once else ROOT) / "demo.sqlite3"
    port = _free_port() if options.once else options.port
    if not _is_free(port):
        raise SystemExit(f"Port {port} is taken by another program. This one is free: make demo PORT={_free_port()}")
    key = secrets.token_urlsafe(16)
    os.environ.update(
        DATABASE_URL=f"sqlite:///{database}",
        TASKQ_BROKER_URL="django://",
        TASKQ_KEEP_TASK_LOGS="1",
        DJANGO_SETTINGS_MODULE="testproject.settings",
        REPORTS_PAUSE="0.05" if options.once else "0.5",
        # For development: pages of errors, and static files from runserver. One key for the site and the worker.
        DEBUG="1",
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50),
        PYTHONUNBUFFERED="1",
        DEMO_LOGIN="" if options.once else key,
    )
    _prepare()
    worker = stack.enter_context(running("taskworker", "-l", "info", "-c", "4", logs=directory))
    site = stack.enter_context(running("runserver", "--noreload", f"127.0.0.1:{port}", logs=directory))
    address = f"http://127.0.0.1:{port}/"
    # Only now: the settings are read from the environment above.
    from testproject.walkthrough import walk_through

    right = walk_through(address)
    if options.once:
        if not right:
            _print_logs(directory)
        return 0 if right else 1
    print(f"\nThe admin, without a password: {address}demo/{key}/")
    print(f"The site: {address}   the admin: {address}admin/ (demo, demo)   Ctrl-C ends both.")
    print("Every user of this machine can log in so: the demo is for a machine of your own.")
    print(f"Their logs: tail -f {directory}/*.log", flush=True)
    status = _wait_for_end(worker, site)
    _print_logs(directory)
    return status


def _prepare() -> None:
    _manage("migrate", "--verbosity", "0")
    created = subprocess.run(
        [
            sys.executable,
            "manage.py",
            "createsuperuser",
            "--noinput",
            "--username",
            "demo",
            "--email",
            "demo@localhost",
        ],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SUPERUSER_PASSWORD": "demo"},
        capture_output=True,
        text=True,
        check=False,
    )
    if created.returncode and "already taken" not in created.stderr:
        raise SystemExit(created.stderr)


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)


@contextmanager
def running(*arguments: str, logs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a management command meanwhile; its output goes to a file in ``logs``."""
    # A session of its own, so that Ctrl-C reaches this program alone, which then ends the others in order.
    with (logs / f"{arguments[0]}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _wait_for_end(*processes: subprocess.Popen[bytes]) -> int:
    """Send tasks, so that there is something to see, until one of the processes ends."""
    from testproject.traffic import Traffic

    traffic = Traffic()
    traffic.begin()
    while True:
        for process in processes:
            try:
                status = process.wait(1.5)
            except subprocess.TimeoutExpired:
                continue
            print(f"{process.args!r} ended with status {status}.", file=sys.stderr)
            return 1
        traffic.go_on()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as runserver does
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _print_logs(directory: Path) -> None:
    for log in sorted(directory.glob("*.log")):
        print(f"\n-- {log.name}\n{log.read_text(errors='replace')}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
