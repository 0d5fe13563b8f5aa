"""A fork server that imports the code anew: it is waited for, but not for ever, and dies with its worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from taskq.worker.pools.fork_servers import ForkServers
from taskq.worker.pools.forkserver import ForkServer
from tests.support.waiting import wait_until


class Loop:
    """Keeps what is to be called later."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        self.later.append((delay, lambda: callback(*args)))

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None: ...

    def remove(self, fd: int) -> None: ...


@pytest.fixture
def make() -> Iterator[Callable[[], tuple[ForkServer, socket.socket]]]:
    """Make a server that is a program which says nothing, and the other end of its socket."""
    made: list[tuple[ForkServer, socket.socket]] = []

    def make() -> tuple[ForkServer, socket.socket]:
        ours, theirs = socket.socketpair()
        # Not a Popen, which would reap it.
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        made.append((ForkServer(pid, ours), theirs))
        return made[-1]

    yield make
    for server, theirs in made:
        server.kill()
        server.end()
        theirs.close()


def test_a_server_that_never_starts_is_killed_and_the_current_one_goes_on(make: Any) -> None:
    (current, _), (hanging, _) = make(), make()
    loop, told = Loop(), list[str | None]()
    servers = ForkServers(current)
    servers.attach(cast(Any, loop), lambda: told.append(servers.not_started()))
    servers.replace(hanging)
    assert (servers.not_started(), servers.started()) == (None, False)
    ((delay, give_up),) = loop.later
    assert delay > 60
    give_up()
    assert "had not started in" in str(told)
    assert (servers.current, servers.starting, servers.gone) == (current, None, False)
    with pytest.raises(ProcessLookupError):
        os.kill(hanging.pid, 0)


def test_a_server_that_has_started_in_time_is_not_killed(make: Any) -> None:
    (current, _), (new, _) = make(), make()
    loop = Loop()
    servers = ForkServers(current)
    servers.attach(cast(Any, loop), lambda: None)
    servers.replace(new)
    new.silent = 0  # It has answered.
    assert servers.started()
    ((_, give_up),) = loop.later
    give_up()
    os.kill(new.pid, 0)
    assert servers.current is new


_CHILD = """
import os, sys
from taskq.worker.pools import fresh
fresh.set_up = lambda _: (print(os.getpid(), flush=True), sys.stdin.read())
fresh.become({"parent": int(sys.argv[1]), "socket": 0, "settings": "", "broker": "", "node": ""})
"""
_PARENT = f"""
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", {_CHILD!r}, str(os.getpid())])
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl()")
def test_a_server_that_hangs_in_the_import_dies_with_its_worker() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: _ended(pid), what="the server to end")


def _ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
