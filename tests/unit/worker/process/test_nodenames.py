"""Names of nodes."""

from __future__ import annotations

import pytest
from django.test import override_settings

from taskq.worker.process import nodenames


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodenames, "hostname", lambda: "box.example.com")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "taskq@box.example.com"),
        ("w1", "w1@box.example.com"),
        ("w1@%h", "w1@box.example.com"),
        ("w1@other", "w1@other"),
        ("w1@%n", "w1@box"),
        ("w1@%n.%d", "w1@box.example.com"),
        ("%n-2@%d", "box-2@example.com"),
    ],
)
def test_node_name_gets_default_name_host_and_expansions(given: str | None, name: str) -> None:
    assert nodenames.node_name(given) == name


@pytest.mark.parametrize("given", ["@h", "a@", "a@b@c", "a b", "a\nb", "a,b", "a@b,c", "l" * 300])
def test_what_is_no_name_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"^-n: .* is not the name of a node, .* without commas"):
        nodenames.node_name(given)


def test_node_name_defaults_to_the_namespace() -> None:
    with override_settings(TASKQ_NAMESPACE="celery"):
        assert nodenames.node_name(None) == "celery@box.example.com"


def test_a_namespace_that_is_no_name_is_refused_by_its_own_name() -> None:
    with override_settings(TASKQ_NAMESPACE="a,b"), pytest.raises(ValueError, match=r"^TASKQ_NAMESPACE: 'a,b@box"):
        nodenames.node_name(None)


@pytest.mark.parametrize(
    ("template", "process", "text"),
    [
        ("%n.log", 0, "w1.log"),
        ("%n%I.log", 0, "w1.log"),
        ("%n%I.log", 2, "w1-2.log"),
        ("%i", 2, "2"),
        ("%p 100%% %x", 0, "w1@box.example.com 100% %x"),
    ],
)
def test_file_names_are_expanded(template: str, process: int, text: str) -> None:
    assert nodenames.expand(template, "w1@box.example.com", process) == text
