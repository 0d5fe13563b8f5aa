"""The tutorial and the README's first page, followed word by word from an empty folder and the wheel."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from taskq.checks.ids import PROBLEMS
from tests.support.pages import Typed
from tests.support.processes import ROOT
from tests.support.reader import Reader, build_wheel, environment

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial uses curl")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with taskq's wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def variables(wheels: Path, tmp_path: Path) -> Mapping[str, str]:
    """The variables of an environment without taskq."""
    return environment(tmp_path / "environment", wheels)


@pytest.fixture
def reader(variables: Mapping[str, str], tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder."""
    empty = tmp_path / "work"
    empty.mkdir()
    reader = Reader(empty, variables)
    yield reader
    reader.end()


def test_the_tutorial_works_as_printed(reader: Reader) -> None:
    assert reader.follow(ROOT / "docs" / "tutorial.md") == {"console", "python", "pycon", "text"}


def test_the_quick_start_of_the_readme_works_as_printed(reader: Reader) -> None:
    for command in (
        "pip install -q taskq-django",
        "django-admin startproject mysite .",
        "python manage.py startapp shop",
    ):
        reader.run(Typed(command, "", 0))
    assert reader.follow(ROOT / "README.md", until="## Calling tasks") == {"console", "python", "pycon"}


def test_hints_of_checks_name_pages_that_the_wheel_brings_along(wheels: Path) -> None:
    (wheel,) = wheels.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"taskq/docs/{problem.page}.md" for problem in PROBLEMS if problem.page} <= names
