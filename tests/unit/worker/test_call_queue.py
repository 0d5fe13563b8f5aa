"""Calls for another thread."""

from __future__ import annotations

import select

import pytest

from taskq.worker.call_queue import Mailbox


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


def _readable(mailbox: Mailbox) -> bool:
    return bool(select.select([mailbox.fileno()], [], [], 0)[0])


def test_a_call_wakes_and_is_made_once(mailbox: Mailbox) -> None:
    made: list[int] = []
    assert not _readable(mailbox)
    mailbox.post(made.append, 1)
    mailbox.post(made.append, 2)
    assert _readable(mailbox)
    mailbox.run()
    mailbox.run()
    assert made == [1, 2]
    assert not _readable(mailbox)


def test_a_call_may_post_another(mailbox: Mailbox) -> None:
    made: list[int] = []
    mailbox.post(mailbox.post, made.append, 1)
    mailbox.run()
    assert made == [1]


def test_a_call_that_fails_loses_no_other(mailbox: Mailbox) -> None:
    made: list[int] = []
    mailbox.post(lambda: 1 // 0)
    mailbox.post(made.append, 1)
    with pytest.raises(ZeroDivisionError):
        mailbox.run()
    assert _readable(mailbox)
    mailbox.run()
    assert made == [1]


def test_one_can_be_woken_for_nothing(mailbox: Mailbox) -> None:
    mailbox.wake()
    assert _readable(mailbox)
    mailbox.run()
    assert not _readable(mailbox)
    mailbox.close()
