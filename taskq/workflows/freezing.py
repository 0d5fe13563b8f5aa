"""Freezing: every task of a canvas gets its id before the canvas is sent.

A frozen canvas has the form that messages carry: a group with a successor is a chord, groups in groups are flat, and
each member of a chord's header ends in one task. Called by ``plan`` and by ``Signature.freeze``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from taskq.calls.registry import tasks
from taskq.ids import closing_id, new_id
from taskq.messages.protocol import reply_queue
from taskq.records import FrozenResult

from .fields import as_list
from .types import (
    CHAIN,
    CHORD,
    GROUP,
    TASK,
    Sig,
    body_of,
    ends_in_group,
    kind_of,
    linked,
    members_of,
    plain,
    steps_of,
    with_errbacks,
    with_kwargs,
)

Frozen = tuple[dict[str, Any], Any]

#: Celery's task that returns one of its arguments: behind a group it makes one task the end.
ACCUMULATE = plain("celery.accumulate", kwargs={"index": 0})


class FrozenMembers:
    """The frozen members of a group that is sent now. A member that is one task is frozen each time it is read.

    A large group keeps only the ids, in place of two dictionaries a member. It can't be written as JSON.
    """

    __slots__ = ("_ids", "_reply_to", "_sigs")

    def __init__(self, reply_to: str) -> None:
        self._reply_to = reply_to
        self._sigs: list[Sig] = []
        self._ids: list[str | None] = []

    def add(self, sig: Sig, task_id: str | None) -> None:
        """Add the task ``sig``, which gets the id ``task_id``, or with ``None`` a canvas that is frozen already."""
        self._sigs.append(sig)
        self._ids.append(task_id)

    def __len__(self) -> int:
        return len(self._sigs)

    def __getitem__(self, index: int) -> Sig:
        sig, task_id = self._sigs[index], self._ids[index]
        if task_id is None:
            return sig
        options = {"task_id": None, "reply_to": self._reply_to, **sig["options"]}
        options["task_id"], options["group_index"] = task_id, index
        return {**sig, "options": options}

    def __iter__(self) -> Iterator[Sig]:
        return map(self.__getitem__, range(len(self._sigs)))


class Freezer:
    """Freezes one canvas. ``given`` are ids of the caller or of an earlier freeze: runs may have them already.

    An id may stand in a canvas once only: two members with one id would count once, and their group wait for ever.
    With ``lazily``, groups whose members are sent now have ``FrozenMembers``; groups that are sent later have lists.
    """

    __slots__ = ("_lazily", "_whole", "given", "reply_to")

    def __init__(self, *, lazily: bool = False) -> None:
        self._lazily = lazily
        self._whole: str | None = None
        self.given: set[str] = set()
        self.reply_to = reply_queue()

    def freeze(self, sig: Sig, task_id: str | None = None) -> Frozen:
        """Return a frozen copy of ``sig`` as a dictionary, and its ``FrozenResult``, ``None`` for an empty chain.

        ``task_id`` is the id of the whole canvas, which is that of its end. Other parts keep their ids, but a part that
        has this one gets a new id.

        Raises:
            TypeError: a chord has no body.
            ValueError: a frozen signature stands in two places.
        """
        self._whole = task_id
        if task_id is not None:
            self.given.add(task_id)
        return self._freeze(sig, task_id, None)

    def _freeze(self, sig: Sig, task_id: str | None, parent: FrozenResult | None) -> Frozen:
        """Freeze a part. ``task_id`` is given if the canvas ends with it; ``parent`` is its predecessor's result."""
        kind = kind_of(sig)
        if kind == TASK:
            return self._task(sig, task_id, parent)
        return _BY_KIND[kind](self, sig, task_id, parent)

    def _id(self, known: str | None) -> str:
        """Return the id ``known``, or a new id for ``None`` and for the id of the whole canvas."""
        if known is None or known == self._whole:
            return new_id()
        if known in self.given:
            raise ValueError(
                f"The frozen signature with the id {known} stands in two places of a canvas, and one id is one task: "
                "make a signature for each place, and freeze() the canvas if you need the ids."
            )
        self.given.add(known)
        return known

    def _later(self, sig: Sig, task_id: str | None, parent: FrozenResult | None) -> Frozen:
        """Freeze a part that is sent later: it travels in a message or in a row."""
        before, self._lazily = self._lazily, False
        frozen = self._freeze(sig, task_id, parent)
        self._lazily = before
        return frozen

    def _task(self, sig: Sig, task_id: str | None, parent: Any) -> Frozen:
        options = {"task_id": None, "reply_to": self.reply_to, **sig["options"]}
        options["task_id"] = own = task_id or self._id(options["task_id"])
        return {**sig, "options": options}, FrozenResult(own, parent, None, _is_ignored(sig))

    def _chain(self, sig: Sig, task_id: str | None, parent: Any) -> Frozen:
        steps = _groups_to_chords(steps_of(sig))
        last = len(steps) - 1
        own: str | None = task_id or sig["options"].get("task_id")
        if own is not None and task_id is None:
            own = self._id(own)
        result, tasks = parent, []
        for place, step in enumerate(steps):
            freeze = self._later if place else self._freeze
            frozen, result = freeze(step, own if place == last else None, result)
            tasks.append(frozen)
        options = _without_followers(sig)
        if tasks:
            options["task_id"] = result.id
        return {**with_kwargs(sig, tasks=tasks), "options": options}, result if tasks else None

    def _group_of(self, sig: Sig, task_id: str | None, parent: Any) -> Frozen:
        sig = _with_followers(sig)
        group_id = task_id or self._id(sig["options"].get("task_id"))
        frozen, results = self._members(members_of(sig))
        return _group(sig, frozen, group_id), FrozenResult(group_id, parent, results)

    def _chord(self, sig: Sig, task_id: str | None, parent: Any) -> Frozen:
        sig = _with_followers(sig)
        header, body = sig["kwargs"].get("header") or (), body_of(sig)
        own = sig["options"].get("task_id")
        group_id = header["options"].get("task_id") if isinstance(header, Mapping) else None
        if group_id is None and "task_id" not in body["options"]:
            # Not frozen yet: the option ``task_id`` is for the result, not for the header.
            task_id, own = task_id or (own and self._id(own)), None
        group_id = self._id(group_id or own)
        if task_id is None and group_id in self.given and _is_closing(body):
            # A frozen group that is sent again must end in the same task.
            task_id = self._id(closing_id(group_id))
        frozen, results = self._members(_one_end(member) for member in members_of(header))
        last, result = self._later(body, task_id, FrozenResult(group_id, parent, results))
        if result is None:
            raise TypeError("A chord needs a body: the body of this chord is an empty chain.")
        sig = with_kwargs(sig, header=_group(header, frozen, group_id), body=last)
        return {**sig, "options": {**sig["options"], "task_id": group_id}}, result

    def _members(self, members: Iterable[Sig]) -> tuple[Any, list[Any]]:
        """Freeze the members of a group, and set their ``group_index``."""
        if self._lazily:
            return self._lazy_members(members)
        sigs, results = [], []
        for index, member in enumerate(members):
            frozen, result = self._freeze(member, None, None)
            frozen["options"]["group_index"] = index
            sigs.append(frozen)
            results.append(result)
        return sigs, results

    def _lazy_members(self, members: Iterable[Sig]) -> tuple[FrozenMembers, list[Any]]:
        sigs, results = FrozenMembers(self.reply_to), []
        for index, member in enumerate(members):
            if kind_of(member) == TASK:
                result = FrozenResult(self._id(member["options"].get("task_id")), ignored=_is_ignored(member))
                sigs.add(member, result.id)
            else:
                frozen, result = self._freeze(member, None, None)
                frozen["options"]["group_index"] = index
                sigs.add(frozen, None)
            results.append(result)
        return sigs, results


def _is_ignored(sig: Sig) -> bool:
    """Tell whether the sender of a task wants no result."""
    ignored = sig["options"].get("ignore_result")
    if ignored is None and (task := tasks.get(sig["task"])) is not None:
        ignored = task.ignore_result
    return bool(ignored)


_BY_KIND: dict[str, Callable[[Freezer, Sig, str | None, Any], Frozen]] = {
    CHAIN: Freezer._chain,
    GROUP: Freezer._group_of,
    CHORD: Freezer._chord,
}


def _group(sig: Any, members: Any, group_id: str) -> dict[str, Any]:
    made = plain("celery.group", kwargs={"tasks": members}, options={"root_id": None, "parent_id": None}, kind=GROUP)
    if isinstance(sig, Mapping):
        made["options"] |= sig["options"]
        if sig["task"] != "celery.chunks":  # the tasks of chunks are immutable, the group is not
            made["args"], made["immutable"] = list(sig["args"]), bool(sig.get("immutable"))
    made["options"]["task_id"] = group_id
    return made


def _groups_to_chords(steps: list[Sig]) -> list[Sig]:
    """Return the steps of a chain; each step that ends in a group becomes a chord with its successor as the body."""
    found: list[Sig] = []
    for step in reversed(steps):
        if found and ends_in_group(step):
            found[-1] = _ending_in(step, found[-1])
        else:
            found.append(step)
    return found[::-1]


def _ending_in(sig: Sig, body: Sig) -> Sig:
    """Return ``sig``, which ends in a group, with ``body`` behind the group: it gets the list of the values."""
    kind = kind_of(sig)
    if kind == GROUP:
        return chord_of(sig, body)
    if kind == CHORD:
        return with_kwargs(sig, body=_ending_in(body_of(sig), body))
    *before, last = steps_of(sig)
    options = _without_followers(sig)
    options.pop("task_id", None)  # the id of the group, which is not the end any more
    return {**sig, "kwargs": {"tasks": [*before, _ending_in(last, body)]}, "options": options}


def chord_of(header: Any, body: Sig) -> dict[str, Any]:
    """Return a chord as a plain dictionary."""
    return plain("celery.chord", kwargs={"kwargs": {}, "header": header, "body": body}, kind=CHORD)


def _one_end(member: Sig) -> Sig:
    """Return a member of a chord's header with one task as its end; the value of a group stays a list."""
    return with_accumulate(member) if kind_of(member) != TASK and ends_in_group(member) else member


def with_accumulate(sig: Sig) -> Sig:
    """Return ``sig``, which ends in a group, with a task behind the group that returns the list of the values."""
    return _ending_in(sig, ACCUMULATE)


def _is_closing(body: Sig) -> bool:
    """Tell whether a chord's body is the task of ``with_accumulate``, still without an id."""
    return bool(body["task"] == ACCUMULATE["task"] and "task_id" not in body["options"])


def _with_followers(sig: Sig) -> Sig:
    """Return a group or chord with its callbacks and errbacks moved from its options to its tasks."""
    links, errbacks = as_list(sig["options"].get("link")), as_list(sig["options"].get("link_error"))
    if links or errbacks:
        sig = {**sig, "options": _without_followers(sig)}
        sig = linked(sig, links) if links else sig
        sig = with_errbacks(sig, errbacks) if errbacks else sig
    return sig


def _without_followers(sig: Sig) -> dict[str, Any]:
    return {name: value for name, value in sig["options"].items() if name not in ("link", "link_error")}
