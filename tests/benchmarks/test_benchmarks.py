"""``make bench``: each benchmark once, with what it prints. Only that it runs is checked, never a time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.services import require_or_skip

from .project import REPOSITORY
from .tuning import CLAIMS

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

RUNS = [
    ("sending", []),
    ("start", ["--database", "postgresql"]),
    ("start", ["--database", "sqlite"]),
    ("start", ["--project", "testproject", "--database", "sqlite"]),
    ("footprint", ["--database", "sqlite", "--rounds", "1"]),
    ("footprint", ["--database", "postgresql", "--rounds", "1"]),
    ("idle", ["--database", "postgresql"]),
    ("idle", ["--database", "sqlite"]),
    ("recycling", ["--database", "postgresql"]),
    ("recycling", ["--database", "sqlite"]),
    ("waiting", ["--database", "postgresql"]),
    ("waiting", ["--database", "sqlite"]),
    ("control", ["--database", "postgresql"]),
    ("control", ["--database", "sqlite"]),
    ("backlog", ["--database", "postgresql"]),
    ("backlog", ["--database", "sqlite"]),
    ("metrics", ["--database", "postgresql"]),
    ("metrics", ["--database", "sqlite"]),
    ("admin_pages", ["--database", "postgresql"]),
    ("admin_pages", ["--database", "sqlite"]),
    ("bulk_retry", ["--database", "postgresql"]),
    ("chord_retry", ["--database", "postgresql"]),
    ("chord_retry", ["--database", "sqlite"]),
    ("endurance", ["costs", "rounds", "readers"]),
    ("workflows", ["--database", "postgresql"]),
    ("workflows", ["--database", "sqlite"]),
    *(("tuning", [claim, "--rounds", "1"]) for claim in CLAIMS),
]


@pytest.mark.parametrize(("name", "options"), RUNS, ids=[" ".join([name, *options]) for name, options in RUNS])
def test_benchmark(name: str, options: list[str]) -> None:
    if "sqlite" not in options:
        require_or_skip("postgresql")
    subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *options], cwd=REPOSITORY, check=True)
