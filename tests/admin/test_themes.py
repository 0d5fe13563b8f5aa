"""The pages under themes of the admin, and on an admin site of the project's own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.support.processes import ROOT


@pytest.mark.parametrize("theme", ["own", "unfold", "jazzmin"])
def test_every_page_answers_under_a_theme(theme: str) -> None:
    if theme != "own" and find_spec(theme) is None:
        pytest.skip(f"django-{theme} is not installed")
    program = [sys.executable, "-m", "tests.admin.under_theme", theme]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    pages = ran.stdout.splitlines()
    assert len(pages) >= 6
    assert [page for page in pages if not page.startswith("200") or "without" in page] == []
