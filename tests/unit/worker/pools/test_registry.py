"""Pools by their names, and pools of a project's own."""

from __future__ import annotations

import re

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from taskq.worker.pools.registry import POOLS, pool_class
from tests.support.custom_pool import RecordingPool


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_found_by_name(name: str) -> None:
    assert pool_class(name).name == name


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"--pool takes prefork, threads, solo, .*custom"):
        pool_class("processes")


@pytest.mark.parametrize("path", ["tests.support.custom_pool:RecordingPool", "tests.support.custom_pool.RecordingPool"])
def test_custom_pool_is_loaded(path: str) -> None:
    with override_settings(TASKQ_CUSTOM_POOL=path):
        assert pool_class("custom") is RecordingPool


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, "needs TASKQ_CUSTOM_POOL"),
        ("RecordingPool", "not of the form"),
        ("no.such.module:Pool", "can't be imported: No module named 'no'"),
        ("tests.support.custom_pool:Other", "tests.support.custom_pool has no Other"),
        ("tests.support.custom_pool:annotations", "no class but"),
        ("tests.support.custom_pool:NoPool", "has to be a subclass of taskq.worker.pools.base.Pool"),
        ("tests.support.custom_pool:HalfPool", "lacks methods of a pool: grow, hand_over"),
    ],
)
def test_what_is_no_pool_is_refused(path: str | None, words: str) -> None:
    with override_settings(TASKQ_CUSTOM_POOL=path), pytest.raises(ImproperlyConfigured, match=re.escape(words)):
        pool_class("custom")
