"""What a tree of processes uses, read from ``/proc``: Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Return the ids of ``root`` and of all that descend from it."""
    children: dict[int, list[int]] = {}
    for pid, fields in _all():
        children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of ``pids``, with that of their ended children."""
    return sum(sum(int(ticks) for ticks in _stat(pid)[11:15]) for pid in pids) / _TICKS


def children_cpu_seconds(pid: int) -> float:
    """Return the processor time of the ended children of ``pid``."""
    return sum(int(ticks) for ticks in _stat(pid)[13:15]) / _TICKS


def pss_mib(pids: Iterable[int]) -> float:
    """Return the memory of ``pids`` in MiB; what they share is counted once."""
    kib = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def cpu_nanoseconds(pid: int) -> int:
    """Return the processor time of the living threads of a process, more exactly than ``cpu_seconds``."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in Path(f"/proc/{pid}/task").iterdir())


def smaps(pid: int) -> Iterator[tuple[str, float, float]]:
    """Yield of each mapping of a process its kind, its PSS, and what of it was written and is not shared, in MiB."""
    kind, pss = "", 0.0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            kind = _kind(first, *rest)
        elif first == "Pss:":
            pss = int(rest[0]) / 1024
        elif first == "Private_Dirty:":
            yield kind, pss, int(rest[0]) / 1024


def _kind(span: str, access: str, _offset: str, _device: str, _inode: str, *name: str) -> str:
    begin, end = (int(each, 16) for each in span.split("-"))
    if name:
        return {"[heap]": "the heap", "[stack]": "stacks"}.get(name[0], "data of files" if "w" in access else "files")
    # As glibc makes them: stacks of threads of 8 MiB, and arenas of threads at multiples of 64 MiB.
    return "stacks" if end - begin == 8 << 20 else "threads' arenas" if begin % (64 << 20) == 0 else "Python's arenas"


def _stat(pid: int) -> list[str]:
    # The command's name, in brackets, may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _all() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                yield int(name), _stat(int(name))
