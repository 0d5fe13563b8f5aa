"""Real processes: management commands that a test starts, watches, and kills by their id.

Each has a log file that holds all that it printed. ``Processes`` ends what a
test left running.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
MANAGE = (sys.executable, "manage.py")


@contextmanager
def usual_signals() -> Iterator[None]:
    """Let what is started meanwhile heed INT, QUIT and HUP, though who runs the tests may not.

    A script's background jobs ignore the first two, what nohup starts the third, and all that they start.
    """
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


class Process:
    """One running management command, with its own session and log."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        log: Path,
        program: Sequence[str] = MANAGE,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.arguments = arguments
        self.log_path = log
        with log.open("wb") as output, usual_signals():
            self.popen = subprocess.Popen(
                [*program, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<manage.py {' '.join(self.arguments)}, pid {self.pid}, status {self.popen.poll()}>"

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def wait_for_log(self, pattern: str, timeout: float = 60.0) -> re.Match[str]:
        """Wait until a line matches the regular expression; fail at once if the process ends before."""

        def found() -> re.Match[str] | None:
            ended = not self.running
            match = re.search(pattern, self.log, re.MULTILINE)
            if match is None and ended:
                raise AssertionError(f"{self!r} ended without {pattern!r} in its log:\n{self.log}")
            return match

        try:
            match = wait_until(found, timeout, what=f"{pattern!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self!r} logged:\n{self.log}") from None
        assert match is not None
        return match

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone, unless it has ended."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the end and return the exit status, negative for a signal."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self!r} did not end in {timeout:g} s; it logged:\n{self.log}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Ask the process to end, wait, and return its exit status."""
        self.send(number)
        return self.wait(timeout)

    def kill(self) -> int:
        """Kill the process without notice."""
        return self.stop(signal.SIGKILL)

    def kill_detached(self) -> None:
        """Kill the worker that this one started in the background, if a test that failed has left it there."""
        if "--pidfile" not in self.arguments:
            return
        pidfile = Path(self.arguments[self.arguments.index("--pidfile") + 1])
        with suppress(OSError, ValueError):
            pid = int(pidfile.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            # Its number may be another process's by now.
            if os.fsencode(pidfile) in command:
                os.kill(pid, signal.SIGKILL)


class Processes:
    """Starts management commands with one environment, and leaves none behind.

    A test may have them run by another ``program``, or with another ``stdin``.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self.program: Sequence[str] = MANAGE
        self.stdin = subprocess.DEVNULL
        self.started: list[Process] = []

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start ``manage.py`` with these arguments; further variables as keywords."""
        log = self.directory / f"{len(self.started)}-{arguments[0]}.log"
        process = Process(arguments, {**self.environment, **environment}, log, self.program, self.stdin)
        self.started.append(process)
        return process

    def start_worker(self, *options: str, ready: bool = True, **environment: str) -> Process:
        """Start ``manage.py taskworker -l info`` and, unless ``ready`` is false, wait until it takes tasks."""
        process = self.start("taskworker", "-l", "info", *options, **environment)
        if ready:
            process.wait_for_log(r" ready\.$")
        return process

    def run(self, *arguments: str, timeout: float = 60.0, **environment: str) -> str:
        """Run ``manage.py`` with these arguments to its end and return what it printed; a failure is an error."""
        process = self.start(*arguments, **environment)
        status = process.wait(timeout)
        assert status == 0, f"{process!r} failed:\n{process.log}"
        return process.log

    def end(self) -> None:
        """Stop what still runs: with a request first, by force for what does not heed it."""
        running = [process for process in self.started if process.running]
        for process in running:
            # One that was frozen could not heed the request.
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in running:
            try:
                process.popen.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        for process in self.started:
            process.kill_detached()
