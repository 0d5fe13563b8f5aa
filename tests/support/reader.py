"""A reader who follows a page word by word: writes its files, types its commands, and compares what comes.

Only this differs from the page: the port of the site, and that commands which last (a worker, a site, a shell) each
get a terminal of their own.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from .pages import Block, Typed, blocks, pattern, typed
from .ports import free_port
from .processes import ROOT, usual_signals
from .waiting import wait_until

_LASTING = re.compile(r"manage\.py (taskworker|runserver)")
_FILE = re.compile(r"# (\S+\.(?:py|html))(, at the end)?\n")
#: What may be typed again until its output is the printed one: it only looks.
_LOOKS = re.compile(r"\$ curl -s http|\w+\.state$")
PATIENCE = 60.0


def environment(folder: Path, wheels: Path) -> dict[str, str]:
    """Make a virtual environment with all that is installed here but taskq; return the variables that activate it.

    ``pip install taskq-django`` in it takes the wheel in ``wheels``, and needs no network.
    """
    here = Path(sysconfig.get_paths()["purelib"])
    libraries = folder / "libraries"
    libraries.mkdir(parents=True)
    for entry in here.iterdir():
        if "taskq" not in entry.name and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / "bin"
    # One entry of the path may stand in for the site-packages of another environment.
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(f"{libraries}\n")
    for name, call in (
        ("pip", "from pip._internal.cli.main import main; raise SystemExit(main())"),
        ("django-admin", "from django.core.management import execute_from_command_line as main; main()"),
    ):
        program = programs / name
        program.write_text(f"#!{programs / 'python'}\n{call}\n")
        program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TASKQ_", "PYTHON"))}
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(folder / "venv"),
        "PYTHONUNBUFFERED": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_PROXY": "127.0.0.1",
    }


class Running:
    """A command that lasts, in a terminal of its own."""

    def __init__(self, command: str, folder: Path, variables: Mapping[str, str], log: Path, stdin: int) -> None:
        self.log = log
        self.since = 0
        with log.open("wb") as output, usual_signals():
            self.popen = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                cwd=folder,
                env=variables,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")[self.since :]

    def signal(self, number: int) -> None:
        """Send a signal as a terminal does: to the whole group of processes."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, number)

    def end(self) -> None:
        """End the command, whatever it does."""
        self.signal(signal.SIGTERM)
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.popen.wait(15)


class Reader:
    """Follows pages in one folder."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.logs = folder.parent
        self.variables = variables
        self.port = free_port()
        self.running: list[Running] = []
        self.shell: Running | None = None
        self.keys = -1

    def follow(self, page: Path, until: str | None = None) -> set[str]:
        """Do all that the page says, up to the line ``until``; return the languages of the blocks that there were."""
        last = page.read_text().split("\n").index(until) if until else sys.maxsize
        does: dict[str, Callable[[Block], None]] = {
            "python": self.write,
            "console": self.type_commands,
            "pycon": self.type_statements,
            "text": self.read_log,
        }
        followed = set()
        for block in blocks(page):
            if block.line > last:
                break
            followed.add(block.language)
            try:
                does[block.language](block)
            except AssertionError as error:
                raise AssertionError(f"{page.name}, from line {block.line}: {error}") from None
        return followed

    def write(self, block: Block) -> None:
        """Write the file that the block's first line names, or add the rest of the block to the end of that file."""
        named = _FILE.match(block.text)
        assert named, f"this file has no name: {block.text[:80]!r}"
        with (self.folder / named[1]).open("a" if named[2] else "w") as file:
            file.write(("\n" + block.text[named.end() :]) if named[2] else block.text)

    def type_commands(self, block: Block) -> None:
        """Run the commands of the block, and compare their outputs."""
        for line in typed(replace(block, text=self._with_port(block.text)), ("$ ", "^C"), more=""):
            if line.text == "^C":
                self.interrupt(line)
            elif line.text.startswith("cd "):
                self.folder /= line.text.removeprefix("cd ")
            elif "manage.py shell" in line.text:
                self.open_shell(line.text)
            elif _LASTING.search(line.text):
                self.start(line)
            else:
                self.run(line)

    def run(self, line: Typed) -> None:
        """Run a command to its end."""

        def said() -> str:
            ran = subprocess.run(
                ["/bin/sh", "-c", line.text],
                cwd=self.folder,
                env=dict(self.variables),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=120,
                check=False,
            )
            assert ran.returncode == 0, f"{line.text} ended with status {ran.returncode}:\n{ran.stdout}"
            return ran.stdout

        self._compare(f"$ {line.text}", line.output, said)

    def start(self, line: Typed) -> None:
        """Start a command that lasts, and wait for what the page shows of its output."""
        self._launch(line.text, subprocess.DEVNULL)
        self._expect(line, self.running[-1])

    def interrupt(self, line: Typed) -> None:
        """Press Ctrl-C where the last command runs."""
        running = self.running.pop()
        running.since += len(running.output)
        running.signal(signal.SIGINT)
        try:
            running.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            running.end()
            raise AssertionError(f"Ctrl-C did not end it:\n{running.output}") from None
        self._expect(line, running)

    def read_log(self, block: Block) -> None:
        """Wait for these lines in the output of the last command."""
        self._expect(Typed("", f"...\n{block.text.rstrip()}", block.line), self.running[-1])

    def open_shell(self, command: str) -> None:
        """Start ``manage.py shell`` as in a terminal."""
        # A terminal for what is typed, and a file for what is printed: so the two do not mix.
        self.keys, terminal = pty.openpty()
        self._launch(command, terminal)
        os.close(terminal)
        self.shell = self.running.pop()
        self._next_prompt()

    def type_statements(self, block: Block) -> None:
        """Type the statements of the block, and compare what they print."""
        for line in typed(block, (">>> ",)):
            if line.text == "exit()":
                assert self.shell is not None
                os.write(self.keys, b"exit()\n")
                assert self.shell.popen.wait(PATIENCE) == 0
                os.close(self.keys)
                self.shell = None
            else:
                self._compare(line.text, line.output, lambda line=line: self._typed(line.text))  # type: ignore[misc]

    def end(self) -> None:
        """End all that still runs."""
        for running in [*self.running, *([self.shell] if self.shell else [])]:
            running.end()

    def _typed(self, statement: str) -> str:
        assert self.shell is not None, "there is no shell"
        for part in statement.split("\n"):
            self.shell.since += len(self.shell.output)
            os.write(self.keys, f"{part}\n".encode())
            said = self._next_prompt()
        return said

    def _next_prompt(self) -> str:
        shell = self.shell
        assert shell is not None

        def prompted() -> re.Match[str] | None:
            assert shell.popen.poll() is None, f"the shell has ended:\n{shell.output}"
            return re.search(r"((?:.*\n)*?)(?:>>> |\.\.\. )\Z", shell.output)

        found = wait_until(prompted, PATIENCE, what="a prompt of the shell")
        assert found is not None
        return found[1]

    def _launch(self, command: str, stdin: int) -> None:
        log = self.logs / f"terminal-{len(list(self.logs.glob('terminal-*')))}"
        self.running.append(Running(command, self.folder, self.variables, log, stdin))

    def _expect(self, line: Typed, running: Running) -> None:
        wanted = pattern(line.output)

        def found() -> bool:
            ended = running.popen.poll() is not None
            matches = wanted.match(running.output) is not None
            assert matches or not ended, f"it has ended, and printed\n{running.output}\nnot\n{line.output}"
            return matches

        try:
            wait_until(found, PATIENCE)
        except AssertionError:
            raise AssertionError(f"{line.text} printed\n{running.output}\nnot\n{line.output}") from None

    def _compare(self, text: str, printed: str, said: Callable[[], str]) -> None:
        if not printed and text.startswith("$ "):
            said()
            return
        wanted = pattern(printed) if printed else re.compile(r"\Z")
        got = ""

        def same() -> bool:
            nonlocal got
            got = said()
            got += "" if not got or got.endswith("\n") else "\n"
            return wanted.fullmatch(got) is not None

        try:
            wait_until(same, PATIENCE if _LOOKS.search(text) else 0.0, interval=0.1)
        except AssertionError as error:
            raise AssertionError(f"{text} printed\n{got}\nnot\n{printed}\n({error})") from None

    def _with_port(self, text: str) -> str:
        return re.sub(r"runserver$", f"runserver {self.port}", text, flags=re.MULTILINE).replace(
            ":8000", f":{self.port}"
        )


def build_wheel(folder: Path) -> Path:
    """Make the wheel of this source in ``folder``, with what is installed here."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)],
        check=True,
    )
    return folder
