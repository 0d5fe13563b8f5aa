"""Plans the sending of a canvas: its ids, its messages, and the rows of its groups and nodes.

``plan`` is for callers, ``plan_frozen`` and ``next_after`` plan the follow-ups of a task's end. A plan neither
reads nor writes rows; ``sending.publisher.publish_plan`` and the store's settling carry it out.

The next step is read from the message (Celery's wire form): ``embed["chain"]`` has the next step last,
``embed["chord"]`` is the frozen body. Only the rest of a long chain is in rows (``rests``).
A signature is *frozen* once every task in it has its id in ``options["task_id"]``.

Membership: a message counts for the group in its header ``group`` if, and only if,
``group_index`` is set too (``is_member``). A chord's body carries its own header's
group id without an index, as Celery's does, and is no member of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain as joined
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from kombu.utils.json import loads

from taskq.calls.context import Context, running
from taskq.calls.envelope import envelope_for
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.messages import tracing, values
from taskq.messages.serializers import dumps_json
from taskq.records import Envelope, FollowUps, FrozenResult, NewGroup, NewNode, Rest

from .depth import limit_depth
from .fields import as_list
from .freezing import Freezer, with_accumulate
from .nodes import Nodes
from .rests import is_reference
from .steps import Call, Steps, as_member, body_call
from .types import (
    CHAIN,
    CHORD,
    GROUP,
    TASK,
    Sig,
    body_of,
    completed,
    ends_in_group,
    kind_of,
    linked,
    steps_of,
    with_errbacks,
    with_options,
)

__all__ = [
    "ADDED",
    "Plan",
    "is_member",
    "next_after",
    "plan",
    "plan_added",
    "plan_body",
    "plan_errback",
    "plan_frozen",
    "plan_replacement",
    "plan_rest",
]

#: The ``group_index`` of members that ``add_to_chord`` adds. The store gives their nodes the next positions.
ADDED = 2**31 - 1
#: The messages that follow from one end have together at most the bytes of so many largest messages. So many bytes
#: they may always have.
MOST_MESSAGES, _ALWAYS = 16, 256 * 1024 * 1024
_KEYS = frozenset({"task", "args", "kwargs", "options"})


@dataclass(slots=True)
class Plan:
    """The groups, nodes and messages of a canvas, which one transaction sends in this order.

    ``result`` is the workflow's, ``None`` for an empty chain. ``envelopes`` can be read once. Each message is encoded
    when it is read, and raises its errors then (``EncodeError``, ``QueueNotFound``, ``ValueError``). ``nodes`` are made
    each time they are read, so that the plan of a large group is small. ``children`` are the results that the sending
    task gets as children.
    """

    result: FrozenResult | None
    envelopes: Iterator[Envelope]
    groups: list[NewGroup] = field(default_factory=list)
    nodes: Iterable[NewNode] = ()
    children: list[FrozenResult] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)

    def follow_ups(self) -> FollowUps:
        """Return the plan as follow-ups of a task, with all messages encoded.

        Raises ``ValueError`` if they are too large together: each of many callbacks gets the whole value.
        """
        envelopes, room = [], room_for_bodies()
        for envelope in self.envelopes:
            envelopes.append(envelope)
            room -= len(envelope.body)
            if room < 0:
                raise ValueError(
                    f"The messages that follow have together more than {room_for_bodies():,.0f} bytes "
                    f"({MOST_MESSAGES} times TASKQ_MAX_MESSAGE_SIZE, or 256 MiB): store the data, and return a key."
                )
        return FollowUps(envelopes, self.groups, list(self.nodes), rests=self.rests)


def room_for_bodies() -> float:
    """Return how many bytes the bodies of all messages that follow from one end may have together."""
    most = settings.MAX_MESSAGE_SIZE
    return math.inf if most is None else max(MOST_MESSAGES * most, _ALWAYS)


def plan(sig: Sig, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Plan:
    """Return the plan of a call of ``sig`` with these arguments and options; ``sig`` is not changed.

    Each call makes new ids for tasks that are not frozen. A running task is the parent. ``task_id`` is the id of the
    whole: of a chain's last task, a chord's body, a group. Raises ``TypeError`` if ``sig`` can't be sent,
    ``ValueError`` if it is nested too deeply.
    """
    with limit_depth():
        return _plan_call(sig, args, kwargs, options)


def plan_frozen(
    sig: Sig,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    root_id: str | None = None,
    parent_id: str | None = None,
    chain: Sequence[Sig] = (),
    **options: Any,
) -> Plan:
    """Return the plan of ``sig``, which came in a message: a callback, an errback, a chain's next step.

    ``sig`` is a plain dictionary as it was decoded. Tasks keep their ids; a task without id (a callback) gets a new id.
    The plan includes the nodes of a canvas: those of a chain's next step exist if taskq sent the chain, but not if
    another producer did, and those of a frozen callback do not exist. ``options`` are as for ``apply_async``;
    ``chain`` are the steps behind ``sig``, the next step last. Arguments are not compared with the function's
    signature: a wrong call fails where it runs.
    """
    if not sig.keys() >= _KEYS:
        sig = completed(sig)  # other producers leave keys out
    steps = Steps(root_id, parent_id)
    with limit_depth():
        frozen, result = Freezer().freeze(sig)
        if result is None:
            return Plan(None, iter(()))
        steps.emit(frozen, args, kwargs, options, steps.cut(chain))
    return _plan(steps, result, frozen, kind_of(frozen) != TASK, waits_for=parent_id or "")


def plan_body(body: str | Sig, values: list[Any], *, root_id: str | None, parent_id: str | None) -> Plan:
    """Return the plan of a chord's body: all members have succeeded.

    ``body`` is ``NewGroup.body``, or ``embed["chord"]``; ``values`` are the members', in the order of their positions.
    """
    sig, args = body_call(loads(body) if isinstance(body, str) else body, values)
    return plan_frozen(sig, args, root_id=root_id or None, parent_id=parent_id or None)


def next_after(embed: Mapping[str, Any], value: Any, *, task_id: str, root_id: str) -> Plan:
    """Return one plan for the success of ``task_id``: its callbacks and the next step of its chain.

    ``value`` is the task's return value. If only the rows have the next step, the plan has a ``Rest`` for it, and no
    result among ``children``; then a ``value`` that is no JSON raises ``EncodeError``. The body of the task's chord is
    not included: its group counts first.
    """
    lineage: dict[str, Any] = {"root_id": root_id, "parent_id": task_id}
    plans = [plan_frozen(callback, (value,), **lineage) for callback in as_list(embed.get("callbacks"))]
    if rest := as_list(embed.get("chain")):
        *behind, step = rest
        if is_reference(step):
            plans.append(_plan_of_reference(step, behind, value, task_id, root_id))
        else:
            plans.append(plan_frozen(step, (value,), chain=behind, **lineage))
    return _joined(plans)


def _plan_of_reference(step: Sig, behind: list[Sig], value: Any, task_id: str, root_id: str) -> Plan:
    text, _ = values.encode(value, "json")
    parent = running()
    trace = tracing.current_trace({} if parent is None else parent.message)
    rest = Rest(step["options"]["task_id"], text, task_id, root_id, dumps_json(behind), trace=dict(trace))
    return Plan(None, iter(()), rests=[rest])


def plan_rest(rest: Rest, text: str) -> Plan:
    """Return the plan of the first step of the rest of a chain; ``text`` is the body of its row."""
    chain: list[Sig] = [*loads(rest.chain), *loads(text)]
    *behind, step = chain
    value = values.decode(rest.value)
    return plan_frozen(step, (value,), chain=behind, root_id=rest.root_id, parent_id=rest.task_id)


def plan_errback(errback: Sig, *, task_id: str, root_id: str) -> Plan:
    """Return the plan of an old-style errback: a task with the argument ``(task_id,)``."""
    return plan_frozen(errback, (task_id,), root_id=root_id, parent_id=task_id)


def plan_replacement(sig: Sig, request: Context, stamp: Callable[[Sig], Sig]) -> Plan:
    """Return the plan of a replacement: the last task of ``sig`` gets the running task's id, group and follow-ups.

    ``stamp`` returns a signature with the stamps of the running task. Raises ``ImproperlyConfigured`` for an empty
    chain and for a member of a chord.
    """
    if "chord" in sig["options"]:
        raise ImproperlyConfigured("replace() takes no signature that is a member of a chord already.")
    if kind_of(sig) == CHAIN and not steps_of(sig):
        raise ImproperlyConfigured("Cannot replace with an empty chain: return the value instead.")
    sig = stamp(with_accumulate(sig) if ends_in_group(sig) else sig)
    options: dict[str, Any] = {
        "task_id": request.id,
        "replaced_task_nesting": request.replaced_task_nesting + 1,
        "link": request.callbacks,
        "link_error": request.errbacks,
        "chain": request.chain,
        "group_id": request.group,
        "group_index": request.group_index,
        "chord": request.chord,
    }
    made = _plan_call(sig, (), None, options)
    made.children = []  # the result has the task's own id
    return made


def plan_added(sig: Sig, request: Context, stamp: Callable[[Sig], Sig]) -> Plan:
    """Return the plan of ``sig`` as one more member of the running task's chord: the body waits for it too.

    The caller adds ``NewGroup(..., added=...)``. ``stamp`` is that of ``plan_replacement``. Raises ``ValueError`` if
    the task is in no chord.
    """
    if not request.chord or not request.group or request.group_index is None:
        raise ValueError("add_to_chord() is for tasks in the header of a chord, and this task is in none.")
    sig = stamp(with_accumulate(sig) if ends_in_group(sig) else sig)
    options = {"group_id": request.group, "group_index": ADDED, "chord": request.chord}
    return _plan_call(sig, (), None, options, with_nodes=True)


def is_member(headers: Mapping[str, Any]) -> bool:
    """Tell whether the end of this message's task counts for the group in its header ``group``."""
    return bool(headers.get("group")) and headers.get("group_index") is not None


# -- putting plans together ------------------------------------------------------------------------


def _plan_call(
    sig: Sig, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: dict[str, Any], with_nodes: bool = False
) -> Plan:
    """Return the plan of one call; ``options`` is emptied. A single task gets a node only with ``with_nodes``."""
    for option, add in (("link", linked), ("link_error", with_errbacks)):
        if followers := as_list(options.pop(option, None)):
            sig = add(sig, followers)
    if options.get("ignore_result") is not None and kind_of(sig) == GROUP:
        sig = with_options(sig, ignore_result=options["ignore_result"])  # for the results of the members
    freezer = Freezer(lazily=True)
    frozen, result = freezer.freeze(sig, options.pop("task_id", None))
    if result is None:
        return Plan(None, iter(()))
    group_id, index, chord = (options.pop(option, None) for option in ("group_id", "group_index", "chord"))
    if group_id is not None and index is not None:
        frozen = dict(as_member(frozen, group_id, index, chord))
    rest = as_list(options.pop("chain", None))
    steps = Steps(*_lineage(options))
    steps.emit(frozen, args, kwargs, options, rest)
    if kind_of(frozen) == GROUP:
        result = _sole_group(result)
    with_nodes = with_nodes or not _is_one_task(frozen)
    return _plan(steps, result, frozen, with_nodes, given=freezer.given, check=True)


def _sole_group(result: FrozenResult) -> FrozenResult:
    """Return the group that a group's only member ends in, else ``result``: the caller's values are not nested."""
    members = result.members or ()
    return members[0] if len(members) == 1 and members[0].members is not None else result


def _is_one_task(sig: Sig) -> bool:
    """Tell whether a frozen canvas is a single task: also a chain of one step, or a chord with an empty header."""
    while (kind := kind_of(sig)) != TASK:
        if kind == CHAIN and len(sig["kwargs"]["tasks"]) == 1:
            (sig,) = sig["kwargs"]["tasks"]
        elif kind == CHORD and not sig["kwargs"]["header"]["kwargs"]["tasks"]:
            sig = body_of(sig)
        else:
            return False
    return True


def _lineage(options: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the root and parent ids of a call: its own options, else those of the running task."""
    root_id, parent_id = options.pop("root_id", None), options.pop("parent_id", None)
    if (parent := running()) is not None:
        root_id, parent_id = root_id or parent.root_id or parent.id, parent_id or parent.id
    return root_id, parent_id


def _plan(
    steps: Steps,
    result: Any,
    frozen: Sig,
    with_nodes: bool,
    *,
    waits_for: str = "",
    given: Collection[str] = (),
    check: bool = False,
) -> Plan:
    """Return the plan of ``steps``. Without a sending task, the first task sent is the root of the groups."""
    root_id = steps.root_id or steps.first
    for group in steps.groups:
        group.root_id = group.root_id or root_id
    nodes = Nodes(frozen, root_id, waits_for) if with_nodes else ()
    envelopes = _envelopes(joined.from_iterable(steps.calls), given, check)
    return Plan(result, envelopes, steps.groups, nodes, [result])


def _envelopes(calls: Iterable[Call], given: Collection[str], check: bool) -> Iterator[Envelope]:
    """Encode the calls. ``check`` says whether arguments have to fit the signatures of the functions.

    Under an id of ``given`` there may be an old TaskRun, which is reset. Follow-ups that a worker sends reset none: a
    second delivery of their predecessor must not reset runs that have started since.
    """
    for name, args, kwargs, options in calls:
        reset = options["task_id"] in given
        with limit_depth():
            envelope = envelope_for(name, tasks.get(name), args, kwargs, options, check=check)
        envelope.reset = reset
        yield envelope


def _joined(plans: list[Plan]) -> Plan:
    if len(plans) == 1:
        return plans[0]
    return Plan(
        plans[-1].result if plans else None,
        joined(*(made.envelopes for made in plans)),
        [group for made in plans for group in made.groups],
        list(joined(*(made.nodes for made in plans))),
        [child for made in plans for child in made.children],
        [rest for made in plans for rest in made.rests],
    )
