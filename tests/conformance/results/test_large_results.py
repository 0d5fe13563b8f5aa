"""Large results: written by the process that ran the task, and read by everybody as any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import OperationalError, connections

from taskq import AsyncResult, chain, chord, group
from taskq.exceptions import EncodeError, QueueNotFound
from taskq.execution import large_results
from taskq.models import Group, LargeText, TaskRun
from taskq.records import Settlement
from taskq.testing import running_worker
from taskq.worker import log_lines
from tests.support.jobs.endings import repeat, repeat_ignored
from tests.support.jobs.flows import same
from tests.support.waiting import wait_until

TEXT = "äx" * 200_000
Sizes = list[tuple[int, bool]]


@pytest.fixture
def sizes() -> Iterator[Sizes]:
    """The characters of results that settlements had, and whether the text was stored before."""
    found: Sizes = []

    def note(settled: Sequence[Settlement]) -> None:
        found.extend((len(s.result or ""), bool(s.result_row)) for s in settled)

    log_lines.tasks_settled.subscribe(note)
    yield found
    log_lines.tasks_settled.unsubscribe(note)


def is_tidy(alias: str) -> bool:
    return not Group.objects.using(alias).filter(group_id__startswith="result:").exists()


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("signing", [False, True])
def test_result_is_read_as_any_other(alias: str, sizes: Sizes, settings: Any, serializer: str, signing: bool) -> None:
    settings.TASKQ_SIGNING = signing
    settings.TASKQ_RESULT_SERIALIZER = serializer
    settings.TASKQ_ACCEPT_CONTENT = ["json", "pickle"]
    with running_worker():
        result = repeat.delay("äx", 200_000)
        assert result.get(timeout=60) == TEXT
        wait_until(lambda: bool(sizes), what="the hook")
    assert AsyncResult(result.id).result == TEXT
    assert sizes == [(1024, True)]
    assert is_tidy(alias)
    result.forget()
    assert not LargeText.objects.using(alias).exists()


@pytest.mark.parametrize("signing", [False, True])
def test_workflows_hand_large_values_on(alias: str, settings: Any, signing: bool) -> None:
    settings.TASKQ_SIGNING = signing
    members = [repeat.s("äx", 200_000), repeat.s("y", 3), repeat_ignored.s("äx", 200_000)]
    with running_worker():
        assert group(members[:2]).delay().get(timeout=60) == [TEXT, "yyy"]
        assert chord(members, same.s()).delay().get(timeout=60) == [[TEXT, "yyy", TEXT]]
        assert chain(repeat.s("äx", 200_000), same.s()).delay().get(timeout=60) == [TEXT]
        # Behind it are more steps than travel, so that the process of the first step reads the second one.
        steps = [same.si(number) for number in range(30)]
        assert chain(repeat.s("äx", 200_000), same.s(), *steps).delay().get(timeout=60) == [29]
    assert is_tidy(alias)


def test_whole_text_goes_with_the_settlement_while_the_database_is_away(
    alias: str, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(text: str, task_id: str) -> str:
        raise OperationalError("the server is gone")

    monkeypatch.setattr(large_results, "write_ahead", away)
    with running_worker():
        assert repeat.delay("x", 300_000).get(timeout=60) == "x" * 300_000
        wait_until(lambda: bool(sizes), what="the hook")
    assert sizes == [(300_002, False)]


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_text_that_the_database_refuses_is_a_failure_that_the_process_tells(alias: str, sizes: Sizes) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        (most,) = cursor.fetchone()
    if most > 32 * 1024 * 1024:
        pytest.skip("the server takes so much that a value above it would fill this machine's memory")
    result = chain(repeat.s("x", most), same.s()).delay()
    with running_worker(), pytest.raises(EncodeError, match="max_allowed_packet"):
        result.get(timeout=120)
    assert isinstance(result.parent.result, EncodeError)
    assert [(size < 1024, stored) for size, stored in sizes] == [(True, False)]


def test_follow_up_that_can_not_be_sent_leaves_no_row(alias: str, settings: Any) -> None:
    settings.TASKQ_MAX_MESSAGE_SIZE = 300_000
    # The main process finds that there is no queue, the process of the task that the value is too large.
    nowhere: Any = {"exchange": "nowhere", "routing_key": "none"}
    with running_worker():
        for behind, error in ((same.si().set(**nowhere), QueueNotFound), (same.s(), ValueError)):
            with pytest.raises(error):
                repeat.apply_async(("äx", 200_000), link=behind).get(timeout=60)
    assert is_tidy(alias)
    assert not LargeText.objects.using(alias).exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_smaller_and_ignored_results_are_written_as_before(alias: str, sizes: Sizes) -> None:
    with running_worker():
        assert repeat.delay("x", 200_000).get(timeout=60) == "x" * 200_000
        repeat_ignored.delay("x", 300_000)
        wait_until(lambda: len(sizes) == 2, what="both ends")
    assert sizes == [(200_002, False), (0, False)]
    assert TaskRun.objects.using(alias).count() == 1
