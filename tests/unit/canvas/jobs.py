"""Tasks for canvases, and what makes plans readable: tasks are letters, ids are the words of their places."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from taskq import task
from taskq.records import Envelope
from taskq.workflows.plan import Plan


@task(name="capapp.add")
def add(x: Any, y: Any) -> Any:
    return x + y


@task(name="capapp.tsum")
def tsum(values: list[Any]) -> Any:
    return sum(values)


@task(name="capapp.ident")
def ident(x: Any) -> Any:
    return x


@task(name="capapp.fail")
def fail(*args: Any) -> None:
    raise ValueError("boom")


@task(name="capapp.call")
def call(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


a, b, c, d, e = (task(name=name)(lambda *args, name=name: [name, *args]).s() for name in "abcde")
S = tsum.s()


def shown(sig: Any) -> Any:
    """Return the shape of a canvas: tasks as their names, containers as tuples that begin with their kind."""
    kind, kwargs = sig["subtask_type"], sig["kwargs"]
    if kind == "chain":
        return "chain", *map(shown, kwargs["tasks"])
    if kind == "group":
        return "group", *map(shown, kwargs["tasks"])
    if kind == "chord":
        header = kwargs["header"]
        members = header["kwargs"]["tasks"] if isinstance(header, dict) else header
        return "chord", tuple(map(shown, members)), kwargs["body"] and shown(kwargs["body"])
    return "S" if sig["task"] == "capapp.tsum" else sig["task"]


def body_of(envelope: Envelope) -> Any:
    assert isinstance(envelope.body, str)
    return json.loads(envelope.body)


def embed_of(envelope: Envelope) -> dict[str, Any]:
    embed: dict[str, Any] = body_of(envelope)[2]
    return embed


def messages(plan: Plan) -> list[Envelope]:
    return list(plan.envelopes)


def calls(envelopes: Sequence[Envelope]) -> list[tuple[str, Any]]:
    return [(envelope.name, body_of(envelope)[0]) for envelope in envelopes]


class Ids:
    """Names ids by the order in which they are met, so that plans can be compared with what was captured."""

    def __init__(self, **known: str) -> None:
        self.names = {value: name for name, value in known.items()}
        self.known = len(known)

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, str) and len(value) == 36 and value.count("-") == 4:
            return self.names.setdefault(value, f"id{len(self.names) - self.known + 1}")
        return value
