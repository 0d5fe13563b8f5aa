"""The rules of the store against a model that send and promote messages; ``test_store_machine`` has all others."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
)

from taskq.models import Message
from taskq.records import Claimed, Envelope
from taskq.store import enqueue
from taskq.store.promote import promote
from tests.support.databases import Database
from tests.support.envelopes import envelope

from .model import Model, ModelMessage

QUEUES = ["a", "b"]
#: Ids that a caller may choose, so that some are sent again and again.
CHOSEN = ["x", "y", "Z", "é" * 3]
#: A little later is due at once; much later is not in a test's life.
DELAYS = [0, 0, 0, 1e-6, 3600]
ENDS = ["SUCCESS", "FAILURE", "RETRY", "IGNORED", "dropped", "followed"]
MONTH = timedelta(days=30)


def _envelopes(*task_ids: str | None) -> st.SearchStrategy[Envelope]:
    return st.builds(
        envelope,
        st.sampled_from(task_ids),
        queue=st.sampled_from(QUEUES),
        priority=st.integers(0, 3),
        tracked=st.booleans(),
        delay=st.sampled_from(DELAYS),
    )


envelopes = _envelopes(None, *CHOSEN)
#: What follows from a task has an id of its own.
follow_ups = st.lists(_envelopes(None), max_size=2)
some_ids = st.sets(st.sampled_from(CHOSEN), min_size=1)


class SendingMachine(RuleBasedStateMachine):
    """Sends and promotes messages on one database, which the test sets, and keeps the model of it."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.database.clear()
        self.alias = self.database.alias
        self.model = Model()
        self.living: list[str] = []
        self.gone: list[str] = []
        #: All that was ever claimed, by token: a worker may come back with what it holds no more.
        self.claimed: dict[str, list[Claimed]] = {}
        self.numbers = itertools.count(1)
        self.newest = 0

    def teardown(self) -> None:
        self.database.clear()

    # -- sending

    def _note_sent(self, sent: list[Envelope]) -> None:
        self._note_new([m for e in sent if (m := self.model.send(e)) is not None])

    def _note_new(self, messages: list[ModelMessage], *, ordered: bool = True) -> None:
        """Learn the row ids of new messages: they must have come in the order of sending."""
        rows = Message.objects.using(self.alias).filter(id__gt=self.newest).order_by("id")
        new = list(rows.values_list("id", "task_id"))
        if not ordered:
            # They follow from several tasks, and no id is there twice.
            messages = sorted(messages, key=lambda m: m.task_id)
            new.sort(key=lambda row: row[1])
        assert [task_id for _, task_id in new] == [message.task_id for message in messages]
        for (number, _), message in zip(new, messages, strict=True):
            self.model.messages[number] = message
            self.newest = max(self.newest, number)

    @rule(e=envelopes)
    def send_one(self, e: Envelope) -> None:
        enqueue.enqueue_one(e)
        self._note_sent([e])

    @rule(sent=st.lists(envelopes, min_size=1, max_size=8))
    def send_many(self, sent: list[Envelope]) -> None:
        enqueue.enqueue(sent)
        # Runs are written before messages, those of new ids before those of chosen ones: the end is the same.
        self._note_sent(sent)

    @rule(kept=envelopes, dropped=st.lists(envelopes, min_size=1, max_size=3))
    def send_beside_a_savepoint_that_is_rolled_back(self, kept: Envelope, dropped: list[Envelope]) -> None:
        with transaction.atomic(using=self.alias):
            try:
                with transaction.atomic(using=self.alias):
                    enqueue.enqueue(dropped)
                    raise RuntimeError
            except RuntimeError:
                enqueue.enqueue_one(kept)
        self._note_sent([kept])

    @rule(dropped=st.lists(envelopes, min_size=1, max_size=3), one=envelopes)
    def send_in_a_transaction_that_is_rolled_back(self, dropped: list[Envelope], one: Envelope) -> None:
        with pytest.raises(RuntimeError), transaction.atomic(using=self.alias):
            enqueue.enqueue(dropped)
            enqueue.enqueue_one(one)
            raise RuntimeError

    @rule(limit=st.integers(1, 4))
    def promote(self, limit: int) -> None:
        due = self.model.due()[:limit]
        assert len(promote(limit)) == len(due)
        self.model.scheduled = [entry for entry in self.model.scheduled if not any(entry[0] is m for m in due)]
        self._note_new(due)
