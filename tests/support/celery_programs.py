"""Celery's own program ``celery``, Flower included, as users run it: from an environment of its own.

``make test`` makes that environment, ``.venv-celery``; ``TASKQ_TEST_CELERY`` names another one. Without one the tests
that need it are skipped, or fail where everything has to be there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .processes import ROOT, usual_signals
from .waiting import wait_until

#: The folder of the environment.
ENVIRONMENT = Path(os.environ.get("TASKQ_TEST_CELERY") or ROOT / ".venv-celery")
_FORKS = Path(__file__).with_name("celery_forks.py")
#: Variables that would change what Celery does, or make it slow to start.
_NOT_PASSED_ON = re.compile(r"(CELERY|FLOWER|DJANGO|PYTHON(?!PYCACHEPREFIX)|APP$|BROKER_URL$)")


def require_or_skip() -> None:
    """Skip the running test if there is no Celery with Flower; fail it where everything has to be there."""
    if (ENVIRONMENT / "bin" / "celery").exists():
        return
    message = f"no program celery in {ENVIRONMENT}: make test installs it, with Flower"
    if os.environ.get("TASKQ_REQUIRE_SERVICES") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


class Program:
    """One run of ``celery``."""

    def __init__(self, programs: Programs, pid: int, arguments: tuple[str, ...], log: Path) -> None:
        self._programs = programs
        self.pid = pid
        self.arguments = arguments
        self.log_path = log

    def __repr__(self) -> str:
        return f"<celery {' '.join(self.arguments)}, pid {self.pid}, status {self.status}>"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; ``None`` while it runs."""
        found: int | None = self._programs.ask(self.pid)
        return found

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        wait_until(lambda: self.status is not None, what=f"the end of {self!r}, which printed:\n{self.log}")
        assert self.status is not None
        return self.status

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until a line that it has printed matches the regular expression; fail at once if it ends before."""

        def found() -> re.Match[str] | None:
            ended = self.status is not None
            match = re.search(pattern, self.log, re.MULTILINE)
            assert match or not ended, f"{self!r} ended without {pattern!r}:\n{self.log}"
            return match

        try:
            match = wait_until(found)
        except AssertionError as error:
            raise AssertionError(f"{error}\nno {pattern!r} by {self!r}:\n{self.log}") from None
        assert match is not None
        return match

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, wait, and return its exit status."""
        if self.status is None:
            os.kill(self.pid, number)
        return self.wait()


class Programs:
    """Starts ``celery`` for one app; the process that forks these programs ends with them."""

    def __init__(self, directory: Path, app: str) -> None:
        """``app`` is the source of a module that has a Celery app, which is written into ``directory``."""
        (directory / "capp.py").write_text(app)
        self._directory = directory
        self._number = 0
        environment = {name: value for name, value in os.environ.items() if not _NOT_PASSED_ON.match(name)}
        with usual_signals():
            self._forks = subprocess.Popen(
                [ENVIRONMENT / "bin" / "python", _FORKS],
                env=environment | {"FLOWER_UNAUTHENTICATED_API": "true"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def ask(self, order: Any) -> Any:
        """Give the forking process an order, and return its answer."""
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        self._forks.stdin.write(json.dumps(order) + "\n")
        self._forks.stdin.flush()
        answer = self._forks.stdout.readline()
        assert answer, "the process that forks Celery's programs has ended"
        return json.loads(answer)

    def start(self, *arguments: str) -> Program:
        """Start ``celery -A capp``."""
        self._number += 1
        log = self._directory / f"celery-{self._number}.log"
        pid = self.ask([["-A", "capp", "--no-color", *arguments], str(self._directory), str(log)])
        return Program(self, pid, arguments, log)

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run ``celery -A capp`` to its end, which has to be with this exit status, and return what it has printed."""
        program = self.start(*arguments)
        assert program.wait() == status, f"{program!r}:\n{program.log}"
        return program.log

    def end(self) -> None:
        """End all programs."""
        self._forks.communicate()
