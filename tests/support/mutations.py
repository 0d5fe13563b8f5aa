"""Mutated messages and rows: what an attacker, a fault or a foreign program may write into taskq's tables.

Real messages are sent, with the rows of their workflows. Copies of these get new ids, and a place of a copy is changed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from django.db import DatabaseError, models, transaction
from django.utils import timezone

from taskq import chord, ids, send_task
from taskq.models import Group, Message, Node, TaskRun

from .jobs import pure

#: The queue from which nobody reads what is copied.
PATTERNS = "patterns"
#: Columns with JSON inside.
_TEXTS = {"headers", "body", "properties", "arguments", "result", "children"}
#: The number of the row, and what only a living worker may write: another's token is as good as a dead one's.
_LEFT_ALONE = {"id", "token"}
_DATES = ("9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00", "2020-02-30", "2020-01-01T00:00:00+00:00", "now")
_TEXT = ("", "x" * 300, "x" * 70_000, "\0", "\ud800", "\u202e\x1b[31m\n", "null", "celery.chord", "é" * 128, "%s{0}")
_NUMBERS = (-1, 0, 1, 0.5, 2**15 - 1, 2**31, 2**63, 10**30, -(10**30), 1e308, float("nan"), float("inf"))


@dataclass(frozen=True)
class Family:
    """The rows of one call: what a mutation copies."""

    rows: Sequence[models.Model]
    #: The ids in them.
    known: Sequence[str]


def families(alias: str) -> list[Family]:
    """Send one call of each kind to a queue that nobody reads; return their rows."""
    plain = pure.add.s(1, 2)
    calls: list[Callable[[], Any]] = [
        lambda: pure.add.apply_async((1, 2), queue=PATTERNS),
        lambda: pure.fail.apply_async((1, 2), queue=PATTERNS, link_error=pure.identity.si(1, 2)),
        lambda: pure.add.apply_async(([1] * 500, 2), queue=PATTERNS, compression="zlib", ignore_result=True),
        lambda: pure.add.apply_async(
            (1,), {"n": 2}, queue=PATTERNS, expires=3600, retries=1, priority=7, stamps={"s": 1}, stamped_headers=["s"],
            headers={"own": "h"}, app_id="shop", link=[plain, pure.mul.s(3)], shadow="other",
        ),
        lambda: (pure.add.s(1, 2).set(queue=PATTERNS) | pure.mul.s(2) | pure.fail.s(1) | pure.add.s(1)).delay(),
        lambda: chord([pure.add.s(n, 1).set(queue=PATTERNS) for n in range(2)], pure.xsum.s(1)).delay(),
        lambda: send_task("nowhere.known", (1, {"a": [None, 1.5]}), queue=PATTERNS),
    ]  # fmt: skip
    found = []
    for call in calls:
        call()
        rows = [row for model in (Message, TaskRun, Group, Node) for row in model._base_manager.using(alias).all()]
        known = {row.task_id for row in rows if isinstance(row, Message | TaskRun | Node)}
        known |= {row.group_id for row in rows if isinstance(row, Group)}
        found.append(Family(rows, sorted(known - {""})))
        for model in (Message, TaskRun, Group, Node):
            model._base_manager.using(alias).all()._raw_delete(alias)
    # Protocol 1, as an old program may send it.
    body = json.dumps({"task": pure.add.name, "id": "old-protocol", "args": [1, 2], "kwargs": {}, "retries": 0})
    old = Message(
        queue=PATTERNS, headers="{}", body=body, properties="{}", task_id="old-protocol", created_at=timezone.now()
    )
    return [*found, Family([old], ["old-protocol"])]


def mutant(family: Family, queue: str, dice: Random) -> tuple[list[models.Model], str]:
    """Return a copy of a family with new ids and one or two changes, for ``queue``; and what was changed."""
    rows = _copied(family, queue)
    # Most often the message: that is what a worker reads.
    told = []
    for _ in range(dice.choice((1, 1, 1, 2))):
        chosen = [row for row in rows if isinstance(row, Message)] if dice.random() < 0.75 else rows
        row = dice.choice(chosen)
        field = dice.choice([f for f in row._meta.concrete_fields if f.attname not in _LEFT_ALONE])
        value = _changed(field, getattr(row, field.attname), dice)
        setattr(row, field.attname, value)
        told.append(f"{type(row).__name__}.{field.attname} = {value!r:.300}")
    return rows, "; ".join(told)


def insert(alias: str, rows: Iterable[models.Model]) -> bool:
    """Write rows as they are; tell whether the database took them all."""
    try:
        with transaction.atomic(using=alias):
            for model in (TaskRun, Group, Node, Message):
                model._base_manager.using(alias).bulk_create([row for row in rows if isinstance(row, model)])
    except (DatabaseError, ValueError, TypeError, OverflowError):
        # Its columns are stricter than the mutation.
        return False
    return True


def _copied(family: Family, queue: str) -> list[models.Model]:
    new = {known: ids.new_id() for known in family.known}
    rows = []
    for row in family.rows:
        made = copy.copy(row)
        made.pk, made._state = None, copy.copy(row._state)
        made._state.adding = True
        for field in made._meta.concrete_fields:
            value = getattr(made, field.attname)
            if isinstance(value, str):
                for known, replacement in new.items():
                    value = value.replace(known, replacement)
                value = value.replace(PATTERNS, queue)
                setattr(made, field.attname, value)
        rows.append(made)
    return rows


def _changed(field: models.Field[Any, Any], value: Any, dice: Random) -> Any:
    if isinstance(field, models.BooleanField):
        return not value
    if isinstance(field, models.DateTimeField):
        return dice.choice((None, datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC), timezone.now()))
    if isinstance(field, models.IntegerField | models.FloatField):
        return dice.choice((-1, 0, 1, 99, 2**15 - 1, -(2**15), 2**31 - 1))
    if field.attname in _TEXTS or (value and value[:1] in "{["):
        return _changed_json(value or "{}", dice)
    return _changed_text(value or "", dice)


def _changed_text(text: str, dice: Random) -> str | None:
    place = dice.randrange(len(text) + 1)
    return dice.choice(
        (
            *_TEXT,
            text[:place],
            text[place:],
            text[:place] + dice.choice('\0\ud800"\\{[,0é') + text[place:],
            text[:place] + text[place + 1 :],
            text * 2,
            text.upper(),
            "application/x-python-serialize",
            "[" * 2000,
        )
    )


def _changed_json(text: str, dice: Random) -> str | None:
    if dice.random() < 0.25:
        return _changed_text(text, dice)
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return _changed_text(text, dice)
    box = [decoded]
    place, key = dice.choice(list(_places(box)))
    _change_at(place, key, dice)
    return json.dumps(box[0]) if box else ""


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change_at(place: Any, key: Any, dice: Random) -> None:
    value = place[key]
    nested: Any = value
    for _ in range(dice.choice((1, 50, 400))):
        nested = [nested] if dice.random() < 0.5 else {"a": nested}
    kind = dice.randrange(8)
    if kind == 0:
        del place[key]
    elif kind == 1:
        place[key] = nested
    elif kind == 2 and isinstance(place, list):
        place.insert(key, copy.deepcopy(value))
    elif kind == 2:
        place[dice.choice((*_TEXT, "added"))] = value
    elif kind == 3:
        place[key] = [copy.deepcopy(value)] * dice.choice((2, 200))
    else:
        place[key] = dice.choice((None, True, False, [], {}, *_NUMBERS, *_TEXT, *_DATES, str(value)))
