"""Process trees, read from /proc: which children a worker has, and whether processes live."""

from __future__ import annotations

from pathlib import Path

from .waiting import wait_until


def parents() -> dict[int, int]:
    """Return the parent of every process."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                found[int(entry.name)] = int(fields[1])
    return found


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    return [child for child, parent in parents().items() if parent == pid]


def pool_children(worker: int) -> list[int]:
    """Return the pool's processes: the children of the fork server of a worker."""
    return [child for server in children(worker) for child in children(server)]


def pool_child(worker: int) -> int:
    """Return the only process of a pool."""
    (child,) = pool_children(worker)
    return child


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def whole(pid: int, count: int) -> list[int]:
    """Wait until a process and those below it are ``count``, and return them: a worker says first that it is ready."""
    return wait_until(lambda: found if len(found := tree(pid)) == count else None, what=f"{count} processes") or []


def alive(pid: int) -> bool:
    """Tell whether a process lives."""
    return pid in parents()
