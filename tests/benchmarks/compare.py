"""taskq beside its peers, in the shared bench: interleaved rounds, and medians of the ratios of each round.

    python tests/benchmarks/compare.py BENCH [--rounds 5] [--n 5000] [--phases idle,bulk,drain]
        [--pair taskq-pg=procrastinate-pg ...] [--json out.json | --read out.json]

``BENCH`` is the folder of the bench (``run.py``, ``setup.sh``). It runs with the interpreter of
``BENCH_VENV``, as ``setup.sh`` has it, or of ``BENCH/.venv``; taskq with ``TASKQ_BENCH_PYTHON``
(see ``adapter/adapter.py``). ``--read`` prints the table of an earlier run. A ratio above 1 means
that taskq is better: rates are taskq's by the peer's, times and memory the peer's by taskq's.
"Rate" is tasks a second until the last result is stored, for those that store none until the last has run.

Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ADAPTER = Path(__file__).resolve().parent / "adapter"
#: What is measured against whom; with ``=``, taskq's adapter and the peer's.
PAIRS = (
    "taskq-pg=procrastinate-pg",
    "taskq-pg=django-tasks-pg",
    "taskq-pg=celery-redis-res-djdb",
    "taskq-pg=huey-pg",
    "taskq-pg-ignore=pgqueuer-pg",
    "taskq-sqlite=huey-sqlite",
)
Run = dict[str, Any]


class Measure(NamedTuple):
    """One column: how it is read from a run, printed, and which way is better."""

    title: str
    read: Callable[[Run], float | None]
    form: str
    more_is_better: bool


def _rate(run: Run) -> float | None:
    drain = run.get("drain", {})
    if not drain.get("ok"):
        return None
    return drain.get("stored_rate") or drain.get("rate")


def _of(phase: str, *keys: str) -> Callable[[Run], float | None]:
    def read(run: Run) -> float | None:
        value: Any = run.get(phase, {})
        if not value.get("ok"):
            return None
        for key in keys:
            value = value[key]
        return float(value)

    return read


MEASURES = (
    Measure("rate, tasks/s", _rate, "{:,.0f}", True),
    Measure("enqueue, tasks/s", _of("enqueue", "rate"), "{:,.0f}", True),
    Measure("bulk, tasks/s", _of("bulk", "rate"), "{:,.0f}", True),
    Measure("idle start p50, ms", _of("idle", "latency_ms", "p50"), "{:.2f}", False),
    Measure("idle PSS, MiB", _of("idle", "pss_mib"), "{:.0f}", False),
    Measure("boot, s", _of("idle", "boot_s"), "{:.2f}", False),
)


def table(runs: dict[str, list[Run]], pairs: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    yield "| taskq | peer | measure | taskq | peer | ratio (lowest to highest) | rounds |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    for ours, theirs in pairs:
        for measure in MEASURES:
            if line := _line(measure, runs.get(ours, []), runs.get(theirs, [])):
                yield f"| {ours} | {theirs} | {line} |"


def _line(measure: Measure, ours: list[Run], theirs: list[Run]) -> str | None:
    both = [(measure.read(a), measure.read(b)) for a, b in zip(ours, theirs, strict=False)]
    values = [(a, b) for a, b in both if a and b]
    if not values:
        return None
    ratios = [a / b if measure.more_is_better else b / a for a, b in values]
    a, b = (measure.form.format(median(column)) for column in zip(*values, strict=True))
    ratio = f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{measure.title} | {a} | {b} | {ratio} | {len(values)} of {len(both)}"


def failures(runs: dict[str, list[Run]]) -> Iterator[str]:
    """Yield what went wrong: phases whose counts were not right are in no median."""
    for name, rounds in runs.items():
        for number, run in enumerate(rounds, 1):
            if run.get("ok") is False:
                yield f"- {name}, round {number}: {run.get('why')}"
            for phase in ("idle", "bulk", "enqueue", "drain"):
                if run.get(phase, {}).get("ok") is False:
                    yield f"- {name}, round {number}, {phase}: {run[phase]}"


def measure(bench: Path, names: list[str], options: argparse.Namespace, out: Path) -> None:
    """Have the bench measure ``names``, in rounds over all of them; its progress is printed."""
    venv = Path(os.environ.get("BENCH_VENV") or bench / ".venv")
    argv = [venv / "bin" / "python", bench / "run.py", "--adapter", ADAPTER, "--only", ",".join(names)]
    argv += ["--n", options.n, "--repeat", options.rounds, "--concurrency", options.concurrency]
    argv += ["--phases", options.phases, "--json", out]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # the bench may be read-only
    subprocess.run([str(word) for word in argv], env=environment, check=True, stdin=subprocess.DEVNULL)


def main() -> None:
    """Measure, or read what was measured, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, nargs="?", help="folder of the shared bench")
    parser.add_argument("--pair", action="append", help=f"taskq's adapter=the peer's; default: {' '.join(PAIRS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--phases", default="idle,bulk,drain")
    parser.add_argument("--json", type=Path, help="keep the bench's own results here")
    parser.add_argument("--read", type=Path, help="measure nothing, print what is in this file")
    options = parser.parse_args()
    pairs = [(ours, theirs) for ours, _, theirs in (pair.partition("=") for pair in options.pair or PAIRS)]
    with tempfile.TemporaryDirectory() as directory:
        out = options.read or options.json or Path(directory) / "out.json"
        if not options.read:
            if options.bench is None:
                parser.error("say where the bench is, or --read a file of results")
            measure(options.bench.resolve(), list(dict.fromkeys(n for pair in pairs for n in pair)), options, out)
        results = json.loads(out.read_text())
    print("\n".join(table(results["runs"], pairs)))
    print("\n".join(["", *failures(results["runs"])]))


if __name__ == "__main__":
    main()
