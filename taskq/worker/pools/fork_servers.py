"""The fork servers of a pool: one that forks, and after a restart with new code the ones before it.

To ``child_processes`` they are like one server, whose children have different code. A former server ends with the last
of its children. Used by ``forked_pool`` and ``child_processes`` on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from . import frames
from .forkserver import ForkServer
from .hub import Hub

#: Seconds after which a server that is still importing the code is given up.
_LONGEST_START = 300.0


class ForkServers:
    """``current`` forks children; ``starting`` will, once it has imported the code."""

    def __init__(self, first: ForkServer) -> None:
        self.current = first
        self.starting: ForkServer | None = None
        self._former: list[ForkServer] = []
        self._by_child: dict[int, ForkServer] = {}
        #: Whether the starting server has been killed because it took too long.
        self._given_up = False
        self._hub: Hub | None = None
        self._on_readable: Callable[[], None] = lambda: None

    def attach(self, hub: Hub, on_readable: Callable[[], None]) -> None:
        """Have ``on_readable`` called when there is something to ``receive``."""
        self._hub, self._on_readable = hub, on_readable
        self._watch(self.current)

    def _watch(self, server: ForkServer) -> None:
        assert self._hub is not None
        server.attach(self._hub)
        self._hub.add_reader(server.fileno(), self._on_readable)

    def filenos(self) -> list[int]:
        """Return the descriptors that are readable when there is something to ``receive``."""
        return [server.fileno() for server in self._all]

    @property
    def _all(self) -> list[ForkServer]:
        return [self.current, *self._former, *([self.starting] if self.starting is not None else [])]

    # -- children

    def spawn(self, child: int, options: frames.ChildOptions, fds: tuple[int, int]) -> None:
        """Request a child of the current server; see ``ForkServer.spawn``."""
        self._by_child[child] = self.current
        self.current.spawn(child, options, fds)

    def signal(self, child: int, number: int) -> None:
        """Request a signal to a child."""
        if (server := self._by_child.get(child)) is not None:
            server.signal(child, number)

    def ask_for_stack(self, child: int, job: int) -> None:
        """Have a child answer where the task of a job is."""
        if (server := self._by_child.get(child)) is not None:
            server.ask_for_stack(child, job)

    def reaped(self, child: int) -> None:
        """A child has ended: so does its server, if that is a former one without other children."""
        self._by_child.pop(child, None)
        self._end_childless()

    # -- the servers

    def replace(self, server: ForkServer) -> None:
        """Have another server fork the children, once it answers; until then, and if it never does, the current one."""
        self.starting, self._given_up = server, False
        self._watch(server)
        server.ping()
        assert self._hub is not None
        self._hub.call_later(_LONGEST_START, self._give_up, server)

    def _give_up(self, server: ForkServer) -> None:
        if self.starting is server and server.silent:
            server.kill()
            # Not by the end of its socket, which a process of the project's may have inherited.
            server.gone = self._given_up = True
            self._on_readable()

    def started(self) -> bool:
        """Tell whether the starting server has just become the current one."""
        server = self.starting
        if server is None or server.gone or server.silent:
            return False
        self._former.append(self.current)
        self.current, self.starting = server, None
        self._end_childless()
        return True

    def not_started(self) -> str | None:
        """Return how the starting server has ended, if it has; the current one goes on."""
        server = self.starting
        if server is None or not server.gone:
            return None
        self.starting = None
        status = self._end(server)
        return f"{status}: it was killed, as it had not started in {_LONGEST_START:g} s" if self._given_up else status

    def receive(self) -> list[frames.Frame]:
        """Return the frames of all servers that have arrived."""
        return [frame for server in self._all for frame in server.receive()]

    @property
    def gone(self) -> bool:
        """Whether a server has ended that is needed."""
        return any(server.gone for server in (self.current, *self._former))

    def ping(self) -> int:
        """Ask for a sign of life; return how many pings in a row a server has not answered."""
        servers = [self.current, *self._former]
        for server in servers:
            server.ping()
        return max(server.silent for server in servers)

    def kill_silent(self, most: int) -> None:
        """Kill the servers that have not answered more than ``most`` pings."""
        for server in (self.current, *self._former):
            if server.silent > most:
                server.kill()

    def end(self) -> str:
        """End all servers, and with them all children; return in words how the first one that had ended did."""
        servers = sorted(self._all, key=lambda server: not server.gone)
        self.starting, self._former = None, []
        statuses = [self._end(server) for server in servers]
        return statuses[0]

    def _end_childless(self) -> None:
        parents = set(map(id, self._by_child.values()))
        for server in [each for each in self._former if id(each) not in parents]:
            self._former.remove(server)
            self._end(server)

    def _end(self, server: ForkServer) -> str:
        if self._hub is not None:
            self._hub.remove(server.fileno())
        return server.end()
