"""Rate limits as numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskq import rates


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        ("10/s", 10.0), ("100/m", 100 / 60), ("2/h", 2 / 3600), ("5", 5.0), (5, 5.0), (0.5, 0.5), (" 0.5/s ", 0.5),
        (None, None), (0, None), ("0", None), ("0/m", None), ("", None),
    ],
)  # fmt: skip
def test_limit_is_starts_per_second(limit: Any, wanted: float | None) -> None:
    assert rates.per_second(limit) == wanted


@pytest.mark.parametrize(
    "limit", ["10/d", "x", "10/", "/m/", "10/s/s", -1, "-1/s", "nan", "0.001/h", float("inf"), True, [1], {"a": 1}]
)
def test_anything_else_is_refused(limit: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        rates.per_second(limit)


def test_only_tasks_of_the_project_have_the_default_limit() -> None:
    tasks = {
        name: SimpleNamespace(rate_limit="60/m", rate_limit_scope="worker")
        for name in ("shop.add", "celery.map", "taskq.cleanup")
    }
    tasks["shop.free"] = SimpleNamespace(rate_limit=None, rate_limit_scope="worker")
    tasks["shop.later"] = SimpleNamespace(rate_limit=None, rate_limit_scope="cluster")
    tasks["shop.all"] = SimpleNamespace(rate_limit=2, rate_limit_scope="cluster")
    tasks["taskq.own"] = SimpleNamespace(rate_limit=2, rate_limit_scope="cluster")
    assert rates.defined(tasks) == {"shop.add": 1.0, "shop.all": 2.0}
    assert rates.shared(tasks) == {"shop.later": None, "shop.all": 2.0}
