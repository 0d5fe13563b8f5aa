"""What follows from ends that no task's process can tell of, for ``store.workflows``.

A chord's body is planned in the transaction that counts its last member; what a
message says was to follow is read here only if its task will not run. Nothing raises
for what a message or a signature holds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db import DatabaseError, InterfaceError
from kombu.utils.json import loads

from taskq import states
from taskq.exceptions import QueueNotFound
from taskq.messages import values
from taskq.messages.protocol import Carried, decode_body
from taskq.records import FROM_ROWS, Dependent, Envelope, NewGroup, Sequel
from taskq.sending import publisher

from . import errbacks
from . import plan as planning

logger = logging.getLogger("taskq.worker")
Value = tuple[str | None, str]
#: How the body of a message ends that nothing follows from.
_NOTHING = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def body_due(body: str, members: Sequence[Value], root_id: str, parent_id: str) -> Sequel:
    """See ``store.workflows.Planner``."""
    try:
        plan = planning.plan_body(body, _decoded(members), root_id=root_id, parent_id=parent_id or None)
        envelopes = list(plan.envelopes)
        publisher.announce(envelopes)
        return Sequel(publisher.routed(envelopes), plan.groups, list(plan.nodes))
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        logger.exception("The body of a chord of %s can't be sent: it fails.", root_id)
        return Sequel(error=values.encode_exception(error))


def _decoded(members: Sequence[Value]) -> list[Any]:
    if all(content_type == values.JSON for _, content_type in members):
        found: list[Any] = loads(f"[{', '.join(text or 'null' for text, _ in members)}]")
        return found
    return [values.decode(text, content_type) for text, content_type in members]


def body_failed(body: str, error: str) -> Sequel:
    """See ``store.workflows.Planner``."""
    try:
        dependents = planning.dependents_of(body)
        called = planning.errbacks_of(body) if dependents else []
    except Exception:
        logger.exception("The body of a chord can't be read: what was to follow from it is not known.")
        return Sequel()
    headers = {"id": dependents[0].task_id, "task": dependents[0].name} if dependents else {}
    sequel = errbacks.planned(called, errbacks.Failure(headers, error))
    sequel.dependents = [*dependents, *sequel.dependents]
    return sendable(sequel)


def message_ended(message: Carried, state: str, error: str) -> Sequel:
    """See ``store.workflows.Planner``."""
    return sendable(read(message, state, error))


def read(message: Carried, state: str, error: str) -> Sequel:
    """Do what ``message_ended`` does without touching a database: queues of exchanges are still to be found."""
    try:
        headers = json.loads(message.headers)
        group_id = str(headers["group"]) if planning.is_member(headers) else ""
    except Exception:  # the message may be anything
        return Sequel(dependents=[FROM_ROWS])
    if isinstance(message.body, str) and message.body.endswith(_NOTHING):
        return Sequel(group_id=group_id)
    try:
        properties = json.loads(message.properties or "{}")
        args, kwargs, embed = decode_body(
            message.body, message.content_type, message.content_encoding, headers, properties
        )
        dependents = planning.dependents(embed)
    except Exception:
        logger.warning("The body of %s can't be read: what was to follow from it is looked up.", headers.get("id"))
        return Sequel(dependents=[FROM_ROWS], group_id=group_id)
    sequel = Sequel()
    if state == states.FAILURE and embed["errbacks"]:
        sequel = errbacks.planned(embed["errbacks"], errbacks.failure_of(message, headers, error, args, kwargs))
    sequel.dependents, sequel.group_id = [*dependents, *sequel.dependents], group_id
    return sequel


def sendable(sequel: Sequel) -> Sequel:
    """Return what sends errbacks with the queues that their exchanges lead to, without those that have none.

    Those are logged: the end that they were to be told of is one all the same. If one is a part of a canvas,
    it is among the dependents, so that the rest does not wait for it.
    """
    found: list[Envelope] = []
    lost: list[Envelope] = []
    for envelope in sequel.envelopes:
        try:
            found += publisher.routed([envelope])
        except QueueNotFound as error:
            of = envelope.headers.get("parent_id")
            logger.error("%s[%s], an errback of %s, can't be sent: %s", envelope.name, envelope.task_id, of, error)
            lost.append(envelope)
    known = {node.task_id for node in sequel.nodes} if lost else set()
    never = unsendable([envelope for envelope in lost if envelope.task_id in known])
    return replace(sequel, envelopes=found, dependents=[*sequel.dependents, *never])


def unsendable(envelopes: Sequence[Envelope], groups: Sequence[NewGroup] = ()) -> list[Dependent]:
    """Return what never runs because ``envelopes``, which were to follow with ``groups``, can't be sent."""
    found: list[Dependent] = []
    for e in envelopes:
        found.append(Dependent(e.task_id, e.name, str(e.headers["group"]) if planning.is_member(e.headers) else ""))
        embed = decode_body(e.body, e.content_type, e.content_encoding, e.headers, e.properties)[2]
        found += planning.dependents(embed)
    for group in groups:
        if group.size and group.body and not group.added:
            found += planning.dependents_of(group.body)
    # What was to join a group has not, and is not counted there.
    joining = {group.group_id for group in groups if group.added}
    return [replace(one, group_id="") if one.group_id in joining else one for one in found]
