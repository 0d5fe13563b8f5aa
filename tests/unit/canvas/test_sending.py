"""Calls of canvases: what reaches the publisher, and what the caller gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from taskq import AsyncResult, Task, chain, group, register, signature
from taskq.calls import context
from taskq.calls.context import Context
from taskq.records import Envelope, NewGroup, NewNode
from taskq.results.group_result import GroupResult
from taskq.sending import publisher

from .jobs import S, a, add, b, body_of, c, call, ident


@pytest.fixture
def rows() -> Iterator[list[Any]]:
    """Collect groups and nodes."""
    found: list[Any] = []

    def collect(groups: Sequence[NewGroup], nodes: Sequence[NewNode]) -> None:
        found.extend([*groups, *nodes])

    previous = publisher.set_workflow_sink(collect)
    yield found
    publisher.set_workflow_sink(previous)


def test_signature_of_a_task_is_sent_by_apply_async(sent: list[Envelope], rows: list[Any]) -> None:
    result = add.s(2).apply_async((8,), queue="q", priority=3)
    assert type(result) is AsyncResult
    assert result.id == sent[0].task_id
    assert (body_of(sent[0])[0], sent[0].queue, sent[0].priority, rows) == ([8, 2], "q", 3, [])
    signature("not.here", (1,)).delay()
    assert sent[1].name == "not.here"


def test_signature_is_sent_by_the_tasks_own_apply_async(sent: list[Envelope]) -> None:
    class Shouting(Task[..., Any]):
        name = "shouting"

        def run(self, *args: Any) -> None: ...

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async(("LOUD", *args), kwargs, **options)

    register(Shouting).s(1).delay()
    assert body_of(sent[0])[0] == ["LOUD", 1]


def test_rows_of_a_workflow_are_written_and_first_members_sent(sent: list[Envelope], rows: list[Any]) -> None:
    result = (group(a, b) | S).delay()
    assert [type(row).__name__ for row in rows] == ["NewGroup", "NewNode", "NewNode", "NewNode"]
    assert [envelope.name for envelope in sent] == ["a", "b"]
    assert type(result.parent) is GroupResult


def test_empty_chain_and_group_send_nothing(sent: list[Envelope]) -> None:
    assert chain()() is None
    assert chain().delay() is None
    assert group().delay().results == []  # type: ignore[attr-defined]
    assert sent == []


def test_canvases_sent_by_a_task_are_its_children(sent: list[Envelope], rows: list[Any]) -> None:
    running = Context(add, called_directly=False, id="me")
    token = context.enter(running)
    try:
        made = [(a | b).delay(), group(a, b).delay(), a.delay()]
        (a | b).apply_async(add_to_parent=False)
    finally:
        context.leave(token)
    assert running.children == made


def test_adelay_and_aapply_async_send_canvases(sent: list[Envelope]) -> None:
    assert async_to_sync(add.s(1).adelay)(2).id == sent[0].task_id
    async_to_sync((a | b).aapply_async)(queue="q")
    assert sent[1].queue == "q"


def test_unknown_call_options_are_refused(sent: list[Envelope]) -> None:
    for sig in (add.s(1, 1), a | b, group(a, b)):
        with pytest.raises(TypeError, match="did you mean 'countdown'"):
            sig.apply_async(countdwn=3)
    assert sent == []


def test_signature_from_request_keeps_place_and_followers_of_the_run(sent: list[Envelope]) -> None:
    embed = {"callbacks": [dict(ident.s())], "errbacks": None, "chain": [dict(c)], "chord": dict(S)}
    message = {"group": "g", "group_index": 2, "stamped_headers": ["t"], "stamps": {"t": 1}, "timelimit": [9, None]}
    request = Context(
        call,
        called_directly=False,
        id="me",
        root_id="root",
        args=[1],
        kwargs={"k": 1},
        message=message,
        embed=embed,
        delivery_info={"exchange": "", "routing_key": "q", "priority": 3},
    )
    sig = call.signature_from_request(request, countdown=5)
    assert (sig.id, sig.args, sig.kwargs) == ("me", (1,), {"k": 1})
    call.signature_from_request(request, (2,), {}).delay()
    (envelope,) = sent
    assert (body_of(envelope)[0], envelope.queue, envelope.priority) == ([2], "q", 3)
    headers = envelope.headers
    assert (headers["id"], headers["root_id"], headers["group"], headers["group_index"]) == ("me", "root", "g", 2)
    assert (headers["stamps"], headers["timelimit"]) == ({"t": 1}, [9, None])
    following = body_of(envelope)[2]
    assert [following["callbacks"][0]["task"], following["chain"][0]["task"], following["chord"]["task"]] == [
        "capapp.ident",
        "c",
        "capapp.tsum",
    ]
