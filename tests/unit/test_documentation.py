"""Hints of checks and errors point to pages that exist, by their address; no link in the documentation is dead."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError

from taskq import control, documentation
from taskq.checks.ids import PROBLEMS
from taskq.conf import SETTINGS
from taskq.management.commands.taskworker import Command
from tests.support.pages import blocks, typed
from tests.support.processes import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(path for name in ("taskq", "taskq_admin") for path in (ROOT / name).rglob("*.py"))
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")
_NAMES = re.compile(r"\bTASKQ_[A-Z_]*[A-Z]\b|\btaskq\.[EW]\d{3}\b")
_NAMED = re.compile(r"documentation\.page\(\s*\"([^\"]+)\"")


def _title(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_message_points_into_the_repository() -> None:
    found = {_title(path): text for path in SOURCES for text in _texts(path) if re.search(r"\bdocs/[\w-]", text)}
    assert found == {}


def test_each_page_that_a_message_names_exists() -> None:
    named = {problem.page for problem in PROBLEMS if problem.page}
    named |= {name for path in SOURCES for name in _NAMED.findall(path.read_text())}
    assert [name for name in named if not Path(documentation.page(name)).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=_title)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    links = [match[1] for match in _LINK.finditer(page.read_text())]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_reference_has_each_name_of_remote_control() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text()
    listed = re.search(r"automodule:: taskq\.control\n +:members: (.*)", text)
    assert listed is not None
    names = [*listed[1].split(", "), *re.findall(r"autoclass:: taskq\.control\.(\w+)", text)]
    assert sorted(names) == sorted(control.__all__)


def test_the_readme_leads_to_each_page() -> None:
    linked = {match[1] for match in _LINK.finditer((ROOT / "README.md").read_text())}
    assert [_title(page) for page in PAGES if _title(page) not in linked | {"README.md", "docs/index.md"}] == []


def test_pages_name_settings_and_checks_that_exist() -> None:
    known = {row.django_name for row in SETTINGS} | {problem.id for problem in PROBLEMS}
    known.add("TASKQ_BROKER_URL_FILE")  # a variable of the environment, for Env.broker_url()
    pages = [page for page in PAGES if page.name != "change-the-code.md"]  # it names variables of the tests too
    named = {(_title(page), name) for page in pages for name in _NAMES.findall(page.read_text())}
    assert {(page, name) for page, name in named if name not in known} == set()


def _refused(lines: list[str]) -> list[str]:
    """Return the command lines of workers that the command does not understand."""
    parser = Command().create_parser("manage.py", "taskworker")
    refused = []
    for line in lines:
        try:
            parser.parse_args(line.split())
        except (CommandError, SystemExit):
            refused.append(line)
    return refused


def test_commands_of_pages_have_options_that_the_worker_has() -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.language in {"console", "text"}]
    lines = [line.text for block in shown for line in typed(block, ("$ ",), more="")]
    options = [
        line.partition("manage.py taskworker")[2].partition("#")[0] for line in lines if "e.py taskworker" in line
    ]
    assert len(options) > 10
    assert _refused(options) == []


def test_examples_for_supervisors_have_options_that_the_worker_has() -> None:
    shown = [block for page in PAGES for block in blocks(page)]
    units = [re.findall(r"manage\.py taskworker (.*)", block.text) for block in shown if block.language == "ini"]
    words = [re.findall(r'"taskworker", (.*)\]', block.text) for block in shown if block.language != "ini"]
    listed = [" ".join(json.loads(f"[{each}]")) for found in words for each in found]
    options = [*(line for found in units for line in found), *listed]
    assert len(options) > 2
    assert _refused([line.replace("$WORKER_OPTIONS", "") for line in options]) == []
