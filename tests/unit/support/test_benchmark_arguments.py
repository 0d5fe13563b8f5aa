"""The command lines of benchmarks that measure several things."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest

from tests.benchmarks import control, endurance


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured: nothing really is."""
    found: list[str] = []
    for module in (control, endurance):
        monkeypatch.setattr(module, "prepared", lambda *names: nullcontext())
    monkeypatch.setattr(endurance, "Tasks", lambda: None)
    monkeypatch.setattr(control, "_answers", lambda *given: found.append("answers"))
    monkeypatch.setattr(control, "_terminate", lambda *given: found.append("terminate"))
    for name in ("costs", "rounds"):
        monkeypatch.setattr(endurance, name, lambda *given, name=name: found.append(name))
    return found


@pytest.mark.parametrize(
    ("module", "given", "expected"),
    [
        (control, [], ["answers", "terminate"]),
        (control, ["terminate"], ["terminate"]),
        (endurance, [], ["costs"]),
        (endurance, ["rounds", "costs"], ["rounds", "costs"]),
    ],
)
def test_a_benchmark_measures_what_is_named_or_all(
    module: object, given: list[str], expected: list[str], measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *given, *(["--pools", "solo:1"] if module is control else [])])
    module.main()  # type: ignore[attr-defined]
    assert measured == expected


def test_a_benchmark_refuses_other_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "answer"])
    with pytest.raises(SystemExit):
        control.main()
    assert "'answer' is none of answers, terminate" in capsys.readouterr().err
