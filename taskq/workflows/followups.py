"""Plans the follow-ups (next link, callbacks, errbacks, chord body) of ends.

``of_message`` and ``complete`` are for tasks that end without an Outcome: revoked, expired, lost or killed. ``of_body``
and ``of_failed_body`` are for the body of a chord. Nothing is read or sent here, and a malformed message or signature
raises no error, except where a docstring says so. Of a large message the dependents are looked up in the rows, since
these tasks end in a worker's main process, and in callers; its errbacks are not called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from sys import intern
from typing import Any

from kombu.utils.json import loads

from taskq import states
from taskq.conf import settings
from taskq.exceptions import ChordError, InvalidTaskError, SignatureMismatch
from taskq.messages import tracing, values
from taskq.messages.announcing import announce
from taskq.messages.protocol import MOST_IN_MAIN, MOST_OUTSIDE, RawMessage, decode_body, decode_message, mapping_of
from taskq.messages.serializers import JSON_TYPE
from taskq.records import (
    LOOK_UP_IN_ROWS,
    NO_FOLLOW_UPS,
    Envelope,
    FollowUps,
    FrozenResult,
    Rest,
    Settlement,
    Unreachable,
)

from . import errbacks, log_lines, rests
from .dependents import dependents, dependents_of, failing_tasks_of
from .parts import dependents_in_parts
from .plan import is_member, plan_body, plan_rest
from .port import Body, Member

#: ``errbacks.planned`` in the process of a task, ``errbacks.planned_outside`` anywhere else.
PlanErrbacks = Callable[[Any, errbacks.Failure], FollowUps]

ALTERED_BODY = SignatureMismatch("The body of the chord was altered in its row: it is not run.")
#: The end of a message body without follow-ups.
EMPTY_EMBED = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def of_body(body: Body, members: Iterable[Member], parent_id: str, kept: list[str]) -> FollowUps:
    """Return the message of a chord's body, called with the members' values; ``parent_id`` is the last member.

    The ids of members whose runs are kept for the body only are added to ``kept``. Raises ``ChordError`` if a value is
    gone, and other errors if the body can't be sent.
    """
    plan = plan_body(body.body, _values_of(members, kept), root_id=body.root_id, parent_id=parent_id)
    found = plan.follow_ups()
    announce(found.envelopes)
    return found


def _values_of(members: Iterable[Member], kept: list[str]) -> list[Any]:
    """Return the values of members. Nothing more is read than one message may carry: a group may have a million."""
    texts: list[str | None] = []
    types: list[str] = []
    most, size = settings.MAX_MESSAGE_SIZE, 0
    for member in members:
        if member.state != states.SUCCESS:
            raise ChordError(f"The result of dependency {member.task_id} is gone")
        if member.ignored:
            kept.append(member.task_id)
        texts.append(member.result)
        types.append(intern(member.content_type or ""))
        size += len(member.result or "")
        if most is not None and size > most:
            raise ValueError(
                f"The values of the group's members are together larger than a message may be (TASKQ_MAX_MESSAGE_SIZE, "
                f"{most} bytes): have the members store their data, and return keys or nothing."
            )
    if all(content_type == JSON_TYPE for content_type in types):
        found: list[Any] = loads(f"[{', '.join(text or 'null' for text in texts)}]")
        return found
    return [values.decode(text, content_type) for text, content_type in zip(texts, types, strict=True)]


def of_rest(rest: Rest, text: str) -> tuple[FollowUps, list[FrozenResult]]:
    """Return the message of the first step of the rest of a chain, and the results that its predecessor notes.

    ``text`` is the body of the row. Raises if the step can't be sent.
    """
    with tracing.follow_ups_of(rest.trace):
        plan = plan_rest(rest, text)
        found = plan.follow_ups()
    tracing.continue_trace(rest.trace, found.envelopes)
    announce(found.envelopes)
    return found, plan.children if rest.trail else []


def of_failed_body(body: str, error: str, plan_errbacks: PlanErrbacks, queue: str = "") -> FollowUps:
    """Return the tasks of a chord's ``body`` as unreachable, its first task first, and the messages of its errbacks.

    ``queue`` is that of a member, empty if it is not known.
    """
    try:
        unreachable = dependents_of(body)
        failing = failing_tasks_of(body) if unreachable else []
    except Exception:
        log_lines.chord_body_unreadable()
        return FollowUps()
    found = FollowUps(unreachable=unreachable)
    for headers, called in failing:
        found += plan_errbacks(called, errbacks.Failure(headers, error, queue=queue))
    return found


def of_message(message: RawMessage, state: str, error: str) -> FollowUps:
    """Return the dependents, and after a failure the errbacks, of a task that can't be run. Not in a main process."""
    return _of_message(message, _headers_of(message), state, error, MOST_OUTSIDE, errbacks.planned)


def complete(settlement: Settlement, message: RawMessage) -> Settlement:
    """Return the settlement of a task that ends without an Outcome, with its shadow, its group and its follow-ups.

    A worker's main process does this, and callers that revoke.
    """
    headers = _headers_of(message)
    shadow = str(headers["shadow"]) if headers is not None and headers.get("shadow") else None
    group_id = str(headers["group"]) if headers is not None and is_member(headers) else ""
    error = settlement.result or "{}"
    found = _of_message(message, headers, settlement.state, error, MOST_IN_MAIN, errbacks.planned_outside)
    follow_ups = _failing_in_parts(found, settlement.root_id)
    group_id, member = group_id or settlement.group_id, bool(group_id)
    return replace(settlement, shadow=shadow, follow_ups=follow_ups, group_id=group_id, member=member)


def _headers_of(message: RawMessage) -> dict[str, Any] | None:
    try:
        return mapping_of(message.headers)
    except InvalidTaskError:
        return None


def _failing_in_parts(found: FollowUps, root_id: str) -> FollowUps:
    """Return follow-ups of which one transaction fails the first dependents at most; rows have the others."""
    unreachable, groups = dependents_in_parts(found.unreachable, root_id)
    return replace(found, unreachable=unreachable, groups=[*found.groups, *groups]) if groups else found


def _of_message(
    message: RawMessage,
    headers: dict[str, Any] | None,
    state: str,
    error: str,
    most: int,
    plan_errbacks: PlanErrbacks,
) -> FollowUps:
    if headers is None or not message.body:
        return FollowUps(unreachable=[LOOK_UP_IN_ROWS])
    if isinstance(message.body, str) and message.body.endswith(EMPTY_EMBED):
        return NO_FOLLOW_UPS
    try:
        args, kwargs, embed = decode_message(message, headers, most)
        found = FollowUps(unreachable=dependents(embed))
    except Exception:  # the message may be malformed in any way
        log_lines.message_body_unreadable(headers.get("id"))
        return FollowUps(unreachable=[LOOK_UP_IN_ROWS])
    if state == states.FAILURE and embed["errbacks"]:
        failure = errbacks.failure_of(message, headers, error, args, kwargs)
        found += plan_errbacks(embed["errbacks"], failure)
    return found


def failed_instead(
    settlement: Settlement, message: RawMessage | None, error: BaseException, already_sent: Collection[str] = ()
) -> Settlement:
    """Return the failure that replaces a success whose follow-ups can't be sent.

    Errbacks come from ``message``. The tasks of the follow-ups are unreachable, but not those ``already_sent``.
    """
    lost = [task for task in unreachable_of(settlement.follow_ups) if task.task_id not in already_sent]
    failed = replace(
        settlement,
        state=states.FAILURE,
        result=values.encode_exception(error),
        content_type=JSON_TYPE,
        keep=True,
        follow_ups=FollowUps(unreachable=lost),
    )
    if message is None:
        return failed
    text = failed.result or "{}"
    of_task = _of_message(message, _headers_of(message), failed.state, text, MOST_IN_MAIN, errbacks.planned_outside)
    return replace(failed, follow_ups=failed.follow_ups + of_task)


def unreachable_of(lost: FollowUps) -> list[Unreachable]:
    """Return the tasks that never run because the messages of ``lost`` can't be sent."""
    found: list[Unreachable] = []
    for envelope in lost.envelopes:
        found += _unreachable_of_message(envelope)
    for rest in lost.rests:
        found += [Unreachable(rest.key, rests.NAME), *dependents({"chain": loads(rest.chain)})]
    for group in lost.groups:
        if group.size and group.body and not group.added:
            found += dependents_of(group.body)
    # ``add_to_chord()`` has not added the member yet: its group does not count it.
    joining = {group.group_id for group in lost.groups if group.added}
    return [replace(each, group_id="") if each.group_id in joining else each for each in found]


def _unreachable_of_message(e: Envelope) -> list[Unreachable]:
    group_id = str(e.headers["group"]) if is_member(e.headers) else ""
    own = Unreachable(e.task_id, e.name, group_id)
    try:
        embed = decode_body(e.body, e.content_type, e.content_encoding, e.headers, e.properties, MOST_OUTSIDE)[2]
    except InvalidTaskError:  # it is larger, as a rule
        return [own, LOOK_UP_IN_ROWS]
    return [own, *dependents(embed)]
