"""How tasks end: after retries, by predicates and limits, with values that can't be kept, and not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq import send_task
from taskq.exceptions import (
    EncodeError,
    NotRegistered,
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from taskq.models import Attempt, Message, ScheduledMessage, TaskRun
from tests.support.jobs import endings, flows, tasks
from tests.support.limited.tasks import too_long
from tests.support.processes import Process
from tests.support.waiting import wait_until


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_retries_are_attempts_before_the_success(alias: str, notes: Path) -> None:
    res = tasks.fail_twice.delay(str(notes))
    assert res.get(timeout=60) == 2
    assert [line.split()[0] for line in notes.read_text().splitlines()] == ["0", "1", "2"]
    attempts = Attempt.objects.using(alias).filter(task_id=res.id).order_by("id")
    assert [(a.state, a.retries) for a in attempts] == [("RETRY", 0), ("RETRY", 1)]
    assert "not yet" in (attempts[0].traceback or "")
    run = res.task_record
    assert run is not None
    assert run.retries == 2


def test_enumeration_members_as_task_names_queues_and_states(notes: Path) -> None:
    res = (flows.add.s(1, 2) | flows.by_names.s(str(notes)) | flows.same.s()).delay()
    wait_until(lambda: "halfway" in notes.read_text(), what="the second link to run")
    wait_until(lambda: res.parent.state == "HALFWAY", what="its state")
    assert res.parent.info == {"line": "taskq"}
    notes.with_name(notes.name + ".go").touch()
    assert res.get(timeout=60) == [[3, "taskq", 8, "taskq"]]


def test_autoretry_runs_until_it_succeeds(notes: Path) -> None:
    assert endings.retry_by_itself.delay(str(notes), 2).get(timeout=60) == 2
    assert lines(notes) == 3


def test_task_fails_when_its_retries_run_out(notes: Path) -> None:
    res = endings.retry_by_itself.delay(str(notes), 99)
    with pytest.raises(ValueError, match="attempt 2"):
        res.get(timeout=60)
    assert lines(notes) == 3


def test_task_waiting_for_its_retry_is_in_state_retry_and_revocable(notes: Path) -> None:
    res = tasks.retry_later.delay(str(notes))
    wait_until(lambda: res.state == "RETRY", what="RETRY")
    assert isinstance(res.result, ValueError)
    assert not res.ready()
    res.revoke()
    assert res.state == "REVOKED"


def test_row_of_a_long_task_tells_where_and_since_when_it_runs(alias: str, notes: Path, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    res = endings.wait_for_file.delay(str(notes), str(tmp_path / "go on"))
    row = TaskRun.objects.using(alias).filter(task_id=res.id)
    wait_until(lambda: row.filter(started_at__isnull=False).exists(), what="the row to tell of the start")
    run = row.get()
    assert run.started_at is not None
    # By the clock of the database, as far as the worker knows it.
    assert before - timedelta(seconds=1) < run.started_at < datetime.now(UTC) + timedelta(seconds=1)
    assert run.worker.startswith("taskq@")
    assert (res.state, run.finished_at) == ("PENDING", None)
    (tmp_path / "go on").touch()
    assert res.get(timeout=60) == "done"


def test_task_that_raises_ignore_has_no_final_state(alias: str) -> None:
    res = endings.ignore.delay()
    gone = Message.objects.using(alias).filter(task_id=res.id)
    wait_until(lambda: not gone.exists(), what="the message to be settled")
    assert res.state not in {"SUCCESS", "FAILURE"}


def test_rejected_task_fails_with_reject() -> None:
    with pytest.raises(Reject):
        endings.reject.delay().get(timeout=60)


def test_reject_with_requeue_runs_the_task_again(notes: Path) -> None:
    assert endings.reject_once.delay(str(notes)).get(timeout=60) == "taken"
    assert lines(notes) == 2


def test_second_delivery_of_a_rejected_message_is_redelivered(notes: Path) -> None:
    assert endings.reject_first_delivery.delay(str(notes)).get(timeout=60) == "received two times"
    assert lines(notes) == 2


def test_task_that_rejects_itself_for_ever_pauses_and_is_never_lost(alias: str, notes: Path) -> None:
    res = endings.reject_for_ever.delay(str(notes))
    waiting = ScheduledMessage.objects.using(alias).filter(task_id=res.id)
    wait_until(waiting.exists, what="a pause")
    assert lines(notes) >= 2
    res.revoke()
    assert res.state == "REVOKED"


def test_task_with_ignore_result_leaves_no_run(alias: str, notes: Path) -> None:
    res = endings.no_result.delay(str(notes))
    assert res.get(timeout=0) is None
    wait_until(lambda: not Message.objects.using(alias).filter(task_id=res.id).exists(), what="the end")
    assert lines(notes) == 1
    assert not TaskRun.objects.using(alias).filter(task_id=res.id).exists()


def test_message_with_ignore_result_leaves_no_run(alias: str, notes: Path) -> None:
    res = tasks.note.apply_async((str(notes), 1), ignore_result=True)
    wait_until(lambda: not Message.objects.using(alias).filter(task_id=res.id).exists(), what="the end")
    assert lines(notes) == 1
    assert not TaskRun.objects.using(alias).filter(task_id=res.id).exists()


def test_task_that_expires_before_its_eta_does_not_run(notes: Path) -> None:
    res = tasks.note.apply_async((str(notes), 1), countdown=0.6, expires=0.2)
    with pytest.raises(TaskRevokedError, match="expired"):
        res.get(timeout=60)
    assert res.state == "REVOKED"
    assert lines(notes) == 0


def test_task_sent_after_its_expiry_does_not_run(notes: Path) -> None:
    res = tasks.note.apply_async((str(notes), 1), expires=datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(TaskRevokedError, match="expired"):
        res.get(timeout=60)
    assert lines(notes) == 0


def test_return_value_that_can_not_be_encoded_fails_the_task() -> None:
    with pytest.raises(EncodeError):
        endings.return_something_strange.delay().get(timeout=60)


def test_unknown_task_fails_with_not_registered() -> None:
    res = send_task("tests.no.such.task", (1,))
    with pytest.raises(NotRegistered, match=r"tests\.no\.such\.task"):
        res.get(timeout=60)
    assert res.name == "tests.no.such.task"


@pytest.mark.parametrize("status", [0, 3])
def test_a_task_that_ends_its_process_fails_after_max_deliveries(alias: str, status: int) -> None:
    res = tasks.exit_process.delay(status)
    with pytest.raises(WorkerLostError):
        res.get(timeout=60)
    assert Attempt.objects.using(alias).filter(task_id=res.id, state="LOST").count() == 2


def test_soft_limit_is_caught_by_the_task_or_fails_it() -> None:
    assert tasks.asked_to_end.delay().get(timeout=60) == "ended in time"
    with pytest.raises(SoftTimeLimitExceeded):
        endings.soft_limit.delay().get(timeout=60)
    with pytest.raises(SoftTimeLimitExceeded):
        tasks.note.apply_async(("/dev/null", 1, 30.0), soft_time_limit=0.2).get(timeout=60)


def test_hard_limit_kills_the_task_and_is_logged(worker: Process, notes: Path) -> None:
    res = too_long.delay(str(notes))
    with pytest.raises(TimeLimitExceeded, match=r"1\.0"):
        res.get(timeout=60)
    assert lines(notes) == 1
    worker.wait_for_log(rf"{res.id}.* was killed: its time limit")
    with pytest.raises(TimeLimitExceeded):
        tasks.note.apply_async(("/dev/null", 1, 30.0), time_limit=0.3).get(timeout=60)


def test_coroutine_tasks_return_values_and_fail() -> None:
    assert endings.square.delay(7).get(timeout=60) == 49
    with pytest.raises(LookupError, match="nowhere"):
        endings.fail_async.delay().get(timeout=60)


@pytest.mark.parametrize("name", ["text \N{SNOWMAN} \x00 end", "x" * 300_000])
def test_values_with_nul_and_of_great_length_are_kept(name: str) -> None:
    res: Any = send_task("testproject.arithmetic.tasks.add", (name, name))
    assert res.get(timeout=60) == name + name


@pytest.mark.parametrize(
    "message", ["with \x00 inside", "a file's name: \udc80", "x" * 1_000_000], ids=["NUL", "surrogate", "long"]
)
def test_errors_with_nul_surrogates_and_of_great_length_are_kept(message: str) -> None:
    res = endings.fail_with.delay(message)
    assert isinstance(res.get(timeout=60, propagate=False), ValueError | EncodeError)
    assert res.state == "FAILURE"


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_results_too_large_for_one_statement_are_kept_or_fail() -> None:
    single = endings.big.delay(20)
    together = endings.big.delay_many([(1,)] * 20)
    # max_allowed_packet is 16 MB unless somebody changed it; the server hangs up on what is larger.
    error = single.get(timeout=60, propagate=False)
    assert isinstance(error, EncodeError | str)
    assert "max_allowed_packet" in str(error) or len(str(error)) == 20 << 20
    assert {len(result.get(timeout=60)) for result in together} == {1 << 20}


@pytest.mark.parametrize(
    "state",
    ["SUCCESS", "", "x" * 51, "with \x00 inside", "with \udc80 inside"],
    ids=["final", "none", "long", "NUL", "surrogate"],
)
def test_invalid_state_in_update_state_is_an_error_of_the_task(state: str) -> None:
    res = endings.say.delay(state)
    if state:
        with pytest.raises(ValueError, match="update_state"):
            res.get(timeout=60)
    else:
        assert res.get(timeout=60) == "said"


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_state_that_the_database_refuses_is_dropped(worker: Process) -> None:
    assert endings.say.delay("FAR", 20).get(timeout=60) == "said"
    assert endings.say.delay("NEAR").get(timeout=60) == "said"
