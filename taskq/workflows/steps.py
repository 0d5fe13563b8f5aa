"""Finds the first calls of a frozen canvas, and the groups that count them. Called by ``plan``.

Later calls travel inside: the next steps of a chain and callbacks in messages (Celery's wire form), a chord's body and
the rest of a long chain (``rests``) in Group rows. Without the database broker a Celery worker may need both: a chain
travels whole, and each member's message has the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from taskq.calls.context import running
from taskq.conf import database_broker_alias
from taskq.messages import tracing
from taskq.messages.serializers import dumps_json
from taskq.records import NewGroup

from .fields import as_list, merged
from .freezing import Freezer, chord_of
from .nodes import result_tuple, saved_group_key
from .rests import cut, shortened
from .types import (
    CHAIN,
    CHORD,
    GROUP,
    TASK,
    Sig,
    body_of,
    ends_in_group,
    kind_of,
    own_options,
    plain,
    with_kwargs,
    with_options,
)

#: One call: a task's name, its arguments, and its own copy of the options.
Call = tuple[str, Sequence[Any], Mapping[str, Any], dict[str, Any]]
Options = Mapping[str, Any]

#: Options of a chord's call that its body does not get, and options of a chain that its first step does not get.
_NOT_FOR_BODY = frozenset({"countdown", "eta", "argsrepr", "kwargsrepr", "add_to_parent", "retries"})
_NOT_FOR_FIRST_STEP = frozenset(
    {"task_id", "reply_to", "group_id", "group_index", "chord", "chain", "link", "link_error"}
)


class Steps:
    """The ``calls`` that one canvas sends now, and the ``groups`` that count them. The first call has the id ``first``.

    Of a group, the calls of members that are one task are made when they are read, which can be done once.
    """

    __slots__ = ("calls", "first", "groups", "parent_id", "root_id")

    def __init__(self, root_id: str | None, parent_id: str | None) -> None:
        self.root_id = root_id
        self.parent_id = parent_id
        self.calls: list[Iterable[Call]] = []
        self.first = ""
        self.groups: list[NewGroup] = []

    def emit(
        self,
        sig: Sig,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Options | None = None,
        rest: Sequence[Sig] = (),
    ) -> None:
        """Add the calls of ``sig``; ``rest`` are the steps behind it, the next step last."""
        kind = kind_of(sig)
        if kind == TASK:
            self._task(sig, args, kwargs, options, rest)
            return
        if sig.get("immutable"):
            args, kwargs = sig["args"], {}
        elif sig["args"]:
            args = (*args, *sig["args"])
        _BY_KIND[kind](self, sig, args, kwargs, options or {}, [*rest, *as_list(sig["options"].get("chain"))])

    def cut(self, rest: Sequence[Sig]) -> Sequence[Sig]:
        """Return the part of ``rest``, the steps behind one that came in a message, that travels on."""
        return cut(rest, self._keep)

    def _keep(self, key: str, text: str) -> None:
        self._count(key, 0, text)

    def _task(self, sig: Sig, args: Any, kwargs: Any, options: Options | None, rest: Sequence[Sig]) -> None:
        call = self._call(sig, args, kwargs, options, rest)
        self.first = self.first or call[3]["task_id"]
        self.calls.append((call,))

    def _call(self, sig: Sig, args: Any, kwargs: Any, options: Options | None, rest: Sequence[Sig] = ()) -> Call:
        args, kwargs, together = merged(sig, args, kwargs, options)
        if rest:
            together["chain"] = [*rest, *as_list(together.get("chain"))]
        if self.root_id is not None:
            together["root_id"] = self.root_id
        if self.parent_id is not None:
            together["parent_id"] = self.parent_id
        return sig["task"], args, kwargs, together

    def _chain(self, sig: Sig, args: Any, kwargs: Any, options: Options, rest: list[Sig]) -> None:
        steps = sig["kwargs"]["tasks"]
        if not steps:
            return
        options = {**_without(sig["options"], _NOT_FOR_FIRST_STEP), **options}
        rest = [*rest, *reversed(steps[1:])]
        if len(steps) > 1:
            rest = shortened(rest, self._keep)
        self.emit(steps[0], args, kwargs, options, rest)

    def _group(self, sig: Sig, args: Any, kwargs: Any, options: Options, rest: list[Sig]) -> None:
        if rest:
            # Another producer's chain: ours has a chord here. Its members may end in groups, which a group can't count.
            chord, _ = Freezer().freeze(chord_of(sig, rest[-1]))
            self._chord(chord, args, kwargs, options, rest[:-1])
            return
        members = sig["kwargs"]["tasks"]
        if members:
            size = sum(kind_of(member) == TASK or not ends_in_group(member) for member in members)
            self._count(sig["options"]["task_id"], size, None)
            if size < len(members):
                # The nodes don't tell which results the group has: a row keeps its result tuple.
                self._count(saved_group_key(sig["options"]["task_id"]), 0, dumps_json(result_tuple(sig)))
            self._members(sig, args, kwargs, options, None)

    def _chord(self, sig: Sig, args: Any, kwargs: Any, options: Options, rest: list[Sig]) -> None:
        header = sig["kwargs"]["header"]
        group_id = header["options"]["task_id"]
        options = {**own_options(sig), **options}
        body = with_options(body_of(sig), **_without(options, _NOT_FOR_BODY))
        body["options"].setdefault("group_id", group_id)
        # The message of the body is made when the members have ended, perhaps in a process that knows of no trace.
        tracing.add_trace(tracing.current_trace(_headers_of_running()), body["options"])
        if rest:
            body["options"]["chain"] = [*rest, *as_list(body["options"].get("chain"))]
        members = header["kwargs"]["tasks"]
        if not members:
            self.emit(*body_call(body, []))
            return
        self._count(group_id, len(members), dumps_json(body))
        if header.get("immutable"):
            args, kwargs = header["args"], {}
        else:
            args, kwargs = (*args, *header["args"]), {**(sig["kwargs"].get("kwargs") or {}), **(kwargs or {})}
        self._members(header, args, kwargs, options, body)

    def _members(self, header: Sig, args: Any, kwargs: Any, options: Options, body: Any) -> None:
        """Add the calls of a frozen group's members: they have its options, and are flat."""
        members, group_id = header["kwargs"]["tasks"], header["options"]["task_id"]
        chord = None if body is None else body_stub(body)

        def tasks(begin: int, end: int) -> Iterator[Call]:
            for index in range(begin, end):
                yield self._call(as_member(members[index], group_id, index, chord), args, kwargs, options)

        begin = 0
        for index, member in enumerate(members):
            if kind_of(member) == TASK:
                self.first = self.first or member["options"]["task_id"]
                continue
            self.calls.append(tasks(begin, index))
            self.emit(as_member(member, group_id, index, chord), args, kwargs, options)
            begin = index + 1
        self.calls.append(tasks(begin, len(members)))

    def _count(self, group_id: str, size: int, body: str | None) -> None:
        self.groups.append(NewGroup(group_id, size, body, self.root_id or "", self.parent_id or ""))


def _headers_of_running() -> Mapping[str, Any]:
    parent = running()
    return {} if parent is None else parent.message


_BY_KIND = {CHAIN: Steps._chain, GROUP: Steps._group, CHORD: Steps._chord}


def _without(options: Options, names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def body_stub(body: Sig) -> Sig:
    """Return the chord's body as the message of a member carries it: whole on Celery's wire, else name and id.

    With the database broker the Group row has the body; a body of n tasks in n messages would be n * n tasks.
    """
    if database_broker_alias() is None:
        return body
    return plain(
        body["task"],
        options={"task_id": body["options"]["task_id"]},
        kind=body.get("subtask_type"),
        immutable=bool(body.get("immutable")),
    )


def as_member(sig: Sig, group_id: str, index: int, chord: Sig | None) -> Sig:
    """Return ``sig`` as member ``index`` of a group, which counts its last task. ``chord`` is the group's body."""
    kind = kind_of(sig)
    if kind == CHAIN:
        *before, last = sig["kwargs"]["tasks"]
        return with_kwargs(sig, tasks=[*before, as_member(last, group_id, index, chord)])
    if kind == CHORD:
        return with_kwargs(sig, body=as_member(body_of(sig), group_id, index, chord))
    if kind == GROUP:
        return sig
    options = {**sig["options"], "group_id": group_id, "group_index": index}
    if chord is not None:
        options["chord"] = chord
    return {**sig, "options": options}


def body_call(body: Sig, values: list[Any]) -> tuple[Sig, tuple[list[Any]]]:
    """Return a chord's body, without the group id of its own header, and its arguments."""
    options = body["options"]
    if options.get("group_index") is None and "group_id" in options:
        body = {**body, "options": _without(options, frozenset({"group_id"}))}
    return body, (values,)
