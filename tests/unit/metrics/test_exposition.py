"""The text format, read again by a strict reader."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.metrics.exposition import Family, render
from tests.support.exposition import parse


def test_a_family_is_written_with_its_help_and_its_type() -> None:
    family = Family("taskq_workers", "gauge", "Workers by state.")
    family.add(2, state="running")
    assert render([family]) == (
        b"# HELP taskq_workers Workers by state.\n# TYPE taskq_workers gauge\n"
        b'taskq_workers{state="running"} 2\n'
    )  # fmt: skip


def test_a_family_without_samples_says_what_it_would_be() -> None:
    assert parse(render([Family("taskq_tasks", "gauge", "Tasks.")]).decode())["taskq_tasks"].values == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3, "3"), (0.25, "0.25"), (1e300, "1e+300"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")],
)
def test_values_are_written_as_prometheus_reads_them(value: float, text: str) -> None:
    family = Family("taskq_value", "gauge", "A value.")
    family.add(value)
    assert render([family]).decode().splitlines()[-1] == f"taskq_value {text}"


@given(st.text(), st.text(alphabet='\\"\n{},= a'), st.text(min_size=1).filter(str.strip))
def test_any_text_can_be_a_label_and_a_help(queue: str, name: str, words: str) -> None:
    family = Family("taskq_tasks_total", "counter", words.replace("\r", " "))
    family.add(1, queue=queue, name=name)
    (read,) = parse(render([family]).decode()).values()
    written = queue.encode("utf-8", "replace").decode()
    assert read.value("", queue=written, name=name) == 1


def test_half_of_a_surrogate_pair_does_not_break_the_page() -> None:
    family = Family("taskq_tasks_total", "counter", "Tasks.")
    family.add(1, name="a\ud800b")
    assert parse(render([family]).decode())["taskq_tasks_total"].value(name="a?b") == 1
