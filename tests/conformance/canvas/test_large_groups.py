"""A large group is sent with little memory: neither its messages nor its nodes are in memory at once."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from taskq import group
from taskq.conf import settings
from taskq.models import Group, Message, Node
from taskq.sending import publisher
from tests.support.jobs.flows import add


def peak_of(n: int) -> int:
    """Send a group of ``n``, and return the most bytes that sending it has taken, its result included."""
    large = group(add.s(i, i) for i in range(n))
    gc.collect()
    tracemalloc.start()
    result = large.delay()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(result) == Node.objects.using(settings.DATABASE).filter(group_id=result.id).count() == n
    assert Group.objects.using(settings.DATABASE).get(group_id=result.id).size == n
    return peak


def test_sender_of_a_large_group_keeps_ids(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "CHUNK", 50)
    monkeypatch.setattr(publisher, "_KEPT", 2)
    monkeypatch.setattr(publisher, "_UNANSWERED", 1)
    fewer, more = peak_of(400), peak_of(1_200)
    assert Message.objects.using(alias).count() == 1_600
    # An id with its result has 300 bytes, an encoded message 3,000. What the peak of one run has by chance counts too.
    assert (more - fewer) / 800 < 1_200
