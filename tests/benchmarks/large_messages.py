"""How far one large message, or the large result of a task, delays the next task, and how large the main process gets.

    python -m tests.benchmarks.large_messages [--database postgresql|sqlite] [--kinds chain text ...] [--rounds 20]

Each round writes one message of ``--mib`` into the queue, as somebody does who can write rows. From then on small tasks
are sent, each some milliseconds after the end of the one before, until the large message has been settled. Printed for
each kind: the time from the call that sends a task to its first line, median and worst, of the first one in each round
and of all; and the most resident memory of the main process. With ``--redelivered`` a worker had the messages before.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from .project import Worker, prepared, wait_for

MIB = 1024 * 1024
_NOOP, _ECHO, _LARGE, _FAILS = (f"taskq_bench.plain.tasks.{name}" for name in ("noop", "echo", "large", "fails"))
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
#: The longest pause between two small tasks, in seconds.
_PAUSE = 0.02


def _body(args: list[Any], **embed: Any) -> str:
    return json.dumps([args, {}, {**_EMBED, **embed}])


def _signatures(size: int, prefix: str, immutable: bool = True) -> list[dict[str, Any]]:
    def sig(number: int) -> dict[str, Any]:
        options = {"task_id": f"{prefix}{number:06}"}
        return {"task": _NOOP, "args": [1], "kwargs": {}, "options": options, "immutable": immutable}

    return [sig(number) for number in range(size // len(json.dumps([sig(0)])))]


def _group(size: int, prefix: str) -> dict[str, Any]:
    tasks = _signatures(size, prefix)
    return {"task": "celery.group", "args": [], "kwargs": {"tasks": tasks}, "options": {}, "subtask_type": "group"}


def _bodies(size: int) -> dict[str, Callable[[str], tuple[str, str]]]:
    """Return for each kind a function of a unique text, which returns the name of a task and a body."""
    room = size - 200
    return {
        "chain": lambda key: (_NOOP, _body([1], chain=_signatures(room, key))),
        "broken chain": lambda key: (_NOOP, _body([1], chain=_signatures(room, key, immutable=False))),
        "callbacks": lambda key: (_NOOP, _body([1], callbacks=_signatures(room, key))),
        "errbacks": lambda key: (_FAILS, _body([1], errbacks=_signatures(room, key))),
        "group": lambda key: ("celery.group", _body([_signatures(room, key)])),
        "chord header": lambda key: (
            "celery.chord",
            _body([_signatures(room, key), _signatures(200, f"{key}body")[0]]),
        ),
        "chord body": lambda key: ("celery.chord", _body([_signatures(200, f"{key}member"), _group(room, key)])),
        "text": lambda key: (_ECHO, _body(["x" * room, 0])),
        "noise": lambda key: (_ECHO, _body([random.randbytes(room // 2).hex(), 0])),
        "echo": lambda key: (_ECHO, _body(["x" * room, 1])),
        "echo noise": lambda key: (_ECHO, _body([random.randbytes(room // 2).hex(), 1])),
        "astral": lambda key: (_ECHO, _body(["y", 0])[:-1] + " " * room + "]\N{GRINNING FACE}"[:1]),
        "lists": lambda key: (_NOOP, "[[" + "[]," * (room // 3) + "1], {}, {}]"),
        "deep": lambda key: (_NOOP, "[" * room),
        "result": lambda key: (_LARGE, _body([size])),
        "results": lambda key: (_LARGE, _body([size])),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--kinds", nargs="*", choices=list(_bodies(MIB)), default=["chain", "text", "echo"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--mib", type=float, default=15)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--redelivered", action="store_true")
    parser.add_argument("--concurrency", type=int, default=2)
    options = parser.parse_args()
    with prepared(options.database):
        for kind in options.kinds:
            with Worker("small", options.concurrency) as worker:
                _measure(kind, worker, options)


def _measure(kind: str, worker: Worker, options: argparse.Namespace) -> None:
    from taskq_bench.plain.tasks import now

    make = _bodies(int(options.mib * MIB))[kind]
    for _ in range(20):
        now.delay().get(timeout=60)
    before, firsts, others = _memory(worker, "VmRSS"), [], []
    quiet = [_start() for _ in range(20)]
    for number in range(options.rounds):
        ids = [_write(*make(f"{kind[0]}{number}-{i}-"), options.redelivered) for i in range(options.at_once)]
        first, *rest = _starts_until_settled(ids)
        firsts.append(first)
        others += rest
        _tidy()
    print(
        f"{options.database} {kind}{' redelivered' if options.redelivered else ''}: quiet {_times(quiet)}; "
        f"first {_times(firsts)}; all {len(others)} {_times(firsts + others)}; "
        f"memory {before:.0f} -> {_memory(worker, 'VmRSS'):.0f}, most {_memory(worker, 'VmHWM'):.0f} MiB",
        flush=True,
    )


def _write(name: str, body: str, redelivered: bool) -> str:
    from taskq import ids
    from taskq.models import Message

    task_id = ids.new_id()
    headers = {"task": name, "id": task_id, "lang": "py", "root_id": task_id, "argsrepr": "()", "kwargsrepr": "{}"}
    Message.objects.create(
        task_id=task_id,
        queue="taskq",
        headers=json.dumps(headers),
        properties="{}",
        body=body,
        created_at=datetime.now(UTC),
        redelivered=redelivered,
        deliveries=int(redelivered),
    )
    return task_id


def _start() -> float:
    """Send a small task; return the seconds until it has begun."""
    from taskq_bench.plain.tasks import now

    began = time.time()
    started: float = now.delay().get(timeout=120)
    time.sleep(random.uniform(0, _PAUSE))
    return started - began


def _starts_until_settled(ids: list[str]) -> list[float]:
    from taskq.models import Message

    found = [_start()]
    while Message.objects.filter(task_id__in=ids).exists():
        found.append(_start())
    return found


def _tidy() -> None:
    """Delete what is left, as the steps of a long chain, so that each round is alone."""
    from taskq.models import Group, Message, Node, TaskRun

    # First: without the rest of its chain the step that runs is the last but a few.
    Group.objects.all()._raw_delete("default")

    def emptied() -> bool:
        Message.objects.filter(token="").delete()
        return not Message.objects.exists()

    wait_for(emptied, 60)
    for model in (TaskRun, Node):
        model._base_manager.all()._raw_delete("default")
    time.sleep(0.3)


def _times(seconds: list[float]) -> str:
    return f"{1e3 * median(seconds):.0f} ms, worst {1e3 * max(seconds):.0f}"


def _memory(worker: Worker, kind: str) -> float:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
