"""Where what follows from an end goes, if it goes to an exchange: that is looked up here, on the store thread.

Called by the ledger before it settles. What a success was to be followed by and can't be, for
no queue is bound, makes a failure of it. An errback that can't be sent changes nothing: the end of its
task stays what it is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from taskq import states
from taskq.exceptions import QueueNotFound
from taskq.messages.exception_data import encode_exception
from taskq.models import Message
from taskq.records import Envelope, Sequel, Settlement
from taskq.sending import publisher
from taskq.workflows import followups

logger = logging.getLogger("taskq.worker")


def find(settlement: Settlement, alias: str) -> None:
    """Find the queues of what follows. What runs under the same id goes back to the queue that it came from."""
    if settlement.state in states.READY_STATES and settlement.state != states.SUCCESS:
        told = followups.sendable(
            Sequel(settlement.follow_ups, nodes=settlement.nodes, dependents=settlement.dependents)
        )
        settlement.follow_ups, settlement.dependents = tuple(told.envelopes), tuple(told.dependents)
    else:
        same = tuple(e for e in settlement.follow_ups if e.task_id == settlement.task_id)
        others = [e for e in settlement.follow_ups if e.task_id != settlement.task_id]
        try:
            settlement.follow_ups = (*same, *publisher.routed(others))
        except QueueNotFound as error:
            logger.error("What follows from %s[%s] can't be sent: %s", settlement.name, settlement.task_id, error)
            _fail(settlement, others, error, alias)
    settlement.routed = True


def _fail(settlement: Settlement, others: Sequence[Envelope], error: QueueNotFound, alias: str) -> None:
    """Have the task fail that can't be followed by ``others``, with what its message says is to follow from that."""
    result = encode_exception(error)
    # Before anything is changed: the database may be gone, and then this is done again.
    message = Message.objects.using(alias).filter(id=settlement.message_id).first()
    sequel = Sequel() if message is None else followups.read(message, states.FAILURE, result)
    sequel = followups.sendable(sequel)
    settlement.dependents = (*followups.unsendable(others, settlement.groups), *sequel.dependents)
    settlement.state, settlement.result = states.FAILURE, result
    settlement.content_type, settlement.keep = "application/json", True
    settlement.follow_ups = tuple(sequel.envelopes)
    settlement.groups, settlement.nodes = tuple(sequel.groups), tuple(sequel.nodes)
