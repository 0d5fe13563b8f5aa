"""When a connection of ``django://`` reads its queues: for news of these queues, and now and then in any case."""

from __future__ import annotations

import pytest

from taskq.engines.listeners import Listener
from taskq.engines.marks import mark
from taskq.transport import poller as poller_module
from taskq.transport.poller import MessagePoller
from tests.support.waiting import wait_until


class News(Listener):
    """Tells what the test has put there."""

    def __init__(self, *news: set[str] | None) -> None:
        self.news = list(news)

    def poll(self) -> set[str] | None:
        return self.news.pop(0) if self.news else set()


def polling(*news: set[str] | None, rest: float = 0.0) -> MessagePoller:
    made = MessagePoller("default", lambda: ["mine"], notify=True, rest=rest)
    made._make = lambda: News(*news)  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize(
    ("news", "due"),
    [(set(), False), ({mark("other")}, False), ({mark("mine")}, True), ({mark("mine"), mark("x")}, True), (None, True)],
)
def test_queues_are_read_for_their_own_news_only(news: set[str] | None, due: bool) -> None:
    assert polling(news).due() is due


def test_news_wait_for_the_end_of_the_rest_and_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = polling(None, set(), set(), rest=0.2)
    assert not poller.due()
    assert 0 < poller.pause() <= 0.2
    wait_until(lambda: poller.pause() == 0, what="the end of the rest")
    assert poller.due()
    assert not poller.due()


def test_waiting_goes_on_after_news_of_other_queues() -> None:
    poller = polling({mark("other")}, {mark("other")}, {mark("mine")})
    poller.wait(60)
    listener = poller.listen()
    assert isinstance(listener, News)
    assert listener.news == []


@pytest.fixture(autouse=True)
def _no_reading_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "POLL_EVERY", 3600.0)
    return
