"""``add.delay("x")`` is an error where it is written: mypy agrees with ``cases.py``, line by line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("cases.py")


@pytest.mark.timeout(600)  # without a cache it reads all of Django
def test_mypy_agrees_with_the_cases(pytestconfig: pytest.Config) -> None:
    pytest.importorskip("mypy")
    # This Python's version, for which a run of mypy over the code has left a cache.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    options = ["--strict", "--warn-unused-ignores", "--python-version", version]
    command = [sys.executable, "-m", "mypy", *options, str(CASES)]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False)
    # Other modules have tests of their own.
    name = str(CASES.relative_to(pytestconfig.rootpath))
    said = [line for line in done.stdout.splitlines() if line.startswith(f"{name}:")]
    assert said == [], done.stderr
    assert done.returncode in (0, 1), done.stdout + done.stderr
