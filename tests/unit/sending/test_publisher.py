"""What receivers of the publish signals get, and what they may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import override_settings

from taskq import signals
from taskq.messages import announcing
from taskq.messages.protocol import build
from taskq.records import Envelope
from taskq.sending import publisher
from taskq.store.enqueue import message_row

Receiver = Callable[..., None]


@pytest.fixture
def sent() -> Iterator[list[Envelope]]:
    """Take the broker's place."""
    taken: list[Envelope] = []
    before = publisher.set_sink(taken.extend)
    yield taken
    publisher.set_sink(before)


@contextmanager
def listening(signal: signals.TaskqSignal, receiver: Receiver) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"serializer": "pickle"}], ids=str)
@pytest.mark.parametrize("name", ["before_task_publish", "after_task_publish"])
def test_publish_signals_give_the_body_as_args_kwargs_and_embed(
    name: str, options: dict[str, Any], sent: list[Envelope], settings: Any
) -> None:
    settings.TASKQ_ACCEPT_CONTENT = ["json", "pickle"]
    heard = []

    def receiver(body: Any, **_: Any) -> None:
        args, kwargs, embed = body
        heard.append((list(args), kwargs, embed["chain"]))

    with listening(getattr(signals, name), receiver):
        publisher.publish_one(build(name="shop.add", queue="q", args=(1, 2), kwargs={"z": 3}, **options))
        publisher.publish([build(name="shop.add", queue="q")])
    assert heard == [([1, 2], {"z": 3}, None), ([], {}, None)]
    assert len(sent) == 2


def test_receivers_may_change_headers_of_a_signed_message(sent: list[Envelope], settings: Any) -> None:
    settings.TASKQ_SIGNING = True
    bodies = []

    def change(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"], headers["expires"] = "abc", None

    def after(body: Any, headers: dict[str, Any], **_: Any) -> None:
        bodies.append((body[0], headers["trace"]))

    with listening(signals.before_task_publish, change), listening(signals.after_task_publish, after):
        publisher.publish_one(build(name="shop.add", queue="q", args=(1,), expires=60))
    assert sent[0].headers["trace"] == "abc"
    assert bodies == [([1], "abc")]


def test_body_of_a_foreign_message_is_given_to_receivers_unchanged() -> None:
    heard = []

    def receiver(body: Any, **_: Any) -> None:
        heard.append(body)

    with listening(signals.before_task_publish, receiver):
        announcing.announce([Envelope("1", "shop.add", "q", {}, '{"task": "shop.add"}')])
    assert heard == ['{"task": "shop.add"}']


def test_publishing_without_receivers_decodes_no_body(sent: list[Envelope], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "_parts", lambda envelope: pytest.fail("decoded"))
    envelope = build(name="shop.add", queue="q")
    publisher.publish_one(envelope)
    publisher.publish([envelope])
    announcing.announce([envelope])
    assert len(sent) == 2


@override_settings(TASKQ_MAX_HEADERS_SIZE=2_000)
def test_headers_and_properties_above_the_limit_are_refused_by_the_sender() -> None:
    message_row(build(name="shop.add", args=(2, 2), queue="q", headers={"x": "y"}))
    with pytest.raises(ValueError, match=r"shop.add has \d+ bytes of headers and properties, above TASKQ_MAX_HEADERS_"):
        message_row(build(name="shop.add", args=(2, 2), queue="q", headers={"x": "y" * 2_000}))
