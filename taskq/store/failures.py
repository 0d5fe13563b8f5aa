"""Failures: the exceptions of failed runs, and which of them are alike. Written with their ends, for the admin.

``note`` is the last thing that a transaction writes: workers that fail alike wait for each other's rows of ``Error``,
and hold them for the shortest time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import QuerySet

from taskq import states
from taskq.engines import Engine, for_alias
from taskq.engines.statistics import add_up
from taskq.messages.fingerprints import ErrorSummary, fingerprint, overflow_fingerprint, summary
from taskq.models import Error, ErrorCount, Failure, TaskRun
from taskq.records import Settlement

from . import error_keys

#: For how long the counts are kept: a week and the period in which it began.
KEPT = timedelta(days=7, seconds=2 * ErrorCount.SECONDS)


def failed(settlements: Sequence[Settlement]) -> list[Settlement]:
    """Return those of ``settlements`` that write a failure."""
    return [s for s in settlements if s.state == states.FAILURE and s.keep]


def note(engine: Engine, settlements: Sequence[Settlement]) -> None:
    """Write the exceptions of failed runs, in the caller's transaction. Settlements without a TaskRun are left out.

    Failures and errors are locked in the order of their keys.
    """
    found: list[tuple[Failure, str]] = []
    seen: dict[tuple[str, str | None], tuple[str, ErrorSummary]] = {}
    for start in range(0, len(settlements), engine.chunk):
        part = {s.task_id: s for s in settlements[start : start + engine.chunk]}
        runs = TaskRun.objects.using(engine.alias).filter(task_id__in=part, state__unindexed=states.FAILURE)
        known = runs.values_list("id", "task_id", "name")
        found += [_failure(number, name, part[key], seen) for number, key, name in known if key in part]
    if found:
        _write(engine, sorted(found, key=lambda row: row[0].run_id))


def _failure(
    number: int, name: str, s: Settlement, seen: dict[tuple[str, str | None], tuple[str, ErrorSummary]]
) -> tuple[Failure, str]:
    """Return the row of a failure. All dependents of one task fail with its exception, which is read once."""
    key = name, s.result
    if key not in seen:
        found = summary(s.result)
        seen[key] = fingerprint(name, found), found
    error, found = seen[key]
    return Failure(run_id=number, error=error, exception=found.exception, message=found.message), name


def _write(engine: Engine, rows: Sequence[tuple[Failure, str]]) -> None:
    now = engine.now()
    at = datetime.fromtimestamp(now, UTC)
    error_keys.bound(engine, rows, now)
    failures = [failure for failure, _ in rows]
    newest = {failure.error: (failure, name) for failure, name in rows}
    errors = [
        Error(
            key=key,
            name=name,
            exception="" if key == overflow_fingerprint(name) else failure.exception,
            message=failure.message,
            first_seen=at,
            last_seen=at,
            last_run=failure.run_id,
        )
        for key, (failure, name) in sorted(newest.items())
    ]
    targets = engine.connection.features.supports_update_conflicts_with_target
    Failure.objects.using(engine.alias).bulk_create(
        failures,
        update_conflicts=True,
        batch_size=engine.chunk,
        unique_fields=["run_id"] if targets else None,
        update_fields=["error", "exception", "message"],
    )
    Error.objects.using(engine.alias).bulk_create(
        errors,
        update_conflicts=True,
        batch_size=engine.chunk,
        unique_fields=["key"] if targets else None,
        update_fields=["message", "last_seen", "last_run"],
    )
    period = int(now) // ErrorCount.SECONDS * ErrorCount.SECONDS
    counted = sorted(Counter(failure.error for failure in failures).items())
    counts = [(key, period, count) for key, count in counted]
    for start in range(0, len(counts), engine.chunk):
        part = counts[start : start + engine.chunk]
        add_up(engine, ErrorCount._meta.db_table, ("error", "period"), ("failures",), part)


def forget(run_ids: Collection[int], alias: str, *, blank: bool = False) -> None:
    """Delete the failures of runs that are deleted, in the caller's transaction.

    With ``blank``, an error loses its message if it was seen last in one of these runs: whoever deletes a run may want
    the text of its exception gone.
    """
    if not run_ids:
        return
    numbers = sorted(run_ids)
    noted = Failure.objects.using(alias).filter(run_id__in=numbers)
    keys = sorted(set(noted.values_list("error", flat=True))) if blank else []
    noted._raw_delete(alias)
    if keys:
        # In the order of ``note``.
        last = Error.objects.using(alias).filter(key__in=keys, last_run__in=numbers)
        locked = list(last.select_for_update().order_by("key").values_list("key", flat=True))
        last.filter(key__in=locked).update(message="")


def expire(before: datetime | None, limit: int, alias: str) -> Iterator[int]:
    """Delete counts over age, and errors that were not seen since ``before`` with their failures; yield how many.

    A transaction deletes up to ``limit`` rows. With ``before=None`` failed runs are kept for ever, and so are errors.
    """
    oldest = for_alias(alias).now() - KEPT.total_seconds()
    counts = ErrorCount.objects.using(alias).filter(period__lt=oldest)
    while ids := list(counts.order_by("period").values_list("id", flat=True)[:limit]):
        yield ErrorCount.objects.using(alias).filter(id__in=ids)._raw_delete(alias)
    if before is None:
        return
    errors = Error.objects.using(alias).filter(last_seen__lt=before)
    while keys := list(errors.order_by("last_seen").values_list("key", flat=True)[:limit]):
        # In the order of ``note``: failures first, and none while an error is locked.
        of_them = Failure.objects.using(alias).filter(error__in=errors.filter(key__in=keys).values("key"))
        while ids := list(of_them.order_by("run_id").values_list("run_id", flat=True)[:limit]):
            yield Failure.objects.using(alias).filter(run_id__in=ids, error__in=keys)._raw_delete(alias)
        yield _delete_errors(errors, keys, alias)


def _delete_errors(errors: QuerySet[Error], keys: Sequence[str], alias: str) -> int:
    with for_alias(alias).atomic():
        # The lock: one that was seen again meanwhile stays, and one that is seen from now on gets a new row.
        old = errors.select_for_update().filter(key__in=keys).order_by("key").values_list("key", flat=True)
        return Error.objects.using(alias).filter(key__in=list(old))._raw_delete(alias)
