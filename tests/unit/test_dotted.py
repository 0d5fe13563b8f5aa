"""Packages that load their public names on first use have them all, and show them."""

from __future__ import annotations

from importlib import import_module

import pytest

from taskq import dotted


@pytest.mark.parametrize("package", ["taskq", "taskq.control", "taskq.events"])
def test_each_public_name_is_shown_and_found(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


def test_another_name_is_an_attribute_error() -> None:
    find, _ = dotted.late_names("taskq.control", {"inspect": "taskq.control.inspector"})
    with pytest.raises(AttributeError, match=r"module .taskq.control. has no"):
        find("inspct")
