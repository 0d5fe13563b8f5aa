"""What holds for all checks together."""

from __future__ import annotations

from pathlib import Path

from django.core.checks import Error, Warning
from django.core.checks.registry import registry as django_checks
from kombu.transport import TRANSPORT_ALIASES

from taskq import checks, documentation
from taskq.checks.ids import PROBLEMS

ROOT = Path(checks.__file__).resolve().parent.parent.parent


def test_each_problem_is_an_error_or_warning_by_its_number() -> None:
    for problem in PROBLEMS:
        message = problem("text")
        assert type(message) is (Error if problem.number.startswith("E") else Warning)
        assert (message.hint or "").startswith(problem.hint)
        assert (documentation.page(problem.page) in (message.hint or "")) == bool(problem.page)
    assert len({problem.id for problem in PROBLEMS}) == len(PROBLEMS)


def test_each_problem_has_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [problem.number for problem in PROBLEMS if f'"{problem.number}"' not in tests.replace("taskq.", "")] == []


def test_the_checks_are_registered() -> None:
    names = {getattr(check, "__name__", "") for check in django_checks.registered_checks}
    deploy = {getattr(check, "__name__", "") for check in django_checks.deployment_checks}
    assert {"check_names", "check_kinds", "check_broker_url", "check_servers", "check_routes"} <= names
    assert {"check_route_names", "check_readers"} <= names
    assert {"check_eager", "check_retention"} <= deploy


def test_app_registers_the_transport_with_kombu() -> None:
    assert TRANSPORT_ALIASES["django"] == "taskq.transport:Transport"


def test_reference_page_of_checks_is_current() -> None:
    page = ROOT / "docs" / "reference" / "checks.md"
    assert page.read_text() == "\n".join(checks.reference()) + "\n", (
        "run: python -m taskq.checks > docs/reference/checks.md"
    )
