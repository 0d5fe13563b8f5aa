"""What the dispatcher sends of what was noted."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from taskq.events import names
from taskq.events.dispatcher import Dispatcher
from taskq.events.stamps import Event


def test_batch_that_makes_no_events_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(names, "is_heard", lambda *args: True)
    remote = SimpleNamespace(link=True, post=lambda call: None)
    dispatcher = Dispatcher(SimpleNamespace(options=SimpleNamespace(name="w@h"), remote=remote), None)  # type: ignore[arg-type]
    dispatcher.connected(SimpleNamespace(connection=SimpleNamespace(channel=lambda: None)))  # type: ignore[arg-type]
    sent: list[Any] = []
    monkeypatch.setattr(dispatcher, "_publish", lambda body, key: sent.extend(body))
    monkeypatch.setattr(dispatcher, "_begun", list)

    def make(batch: str) -> Iterable[Event]:
        if batch == "bad":
            raise ValueError("no event")
        return [{"type": batch}]

    for batch in ("first", "bad", "last"):
        dispatcher._note(make, batch, 1)
    dispatcher._flush()
    assert [event["type"] for event in sent] == ["first", "last"]
    assert "no event" in caplog.text
    assert dispatcher._waiting == 0
