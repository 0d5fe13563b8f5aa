"""Commands: the decorators with Celery's arguments, and what the command line makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management.base import CommandError

from taskq.control import control_command, inspect_command, registry
from taskq.control.mailbox import handle
from taskq.management.remote import listing, read_arguments, shown


@pytest.fixture(autouse=True)
def _own_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "commands", {})
    monkeypatch.setattr("taskq.control.mailbox.commands", registry.commands)


def test_a_bare_decorator_takes_the_name_of_the_function() -> None:
    @control_command
    def increase(state: Any, by: int = 1) -> dict[str, int]:
        """Increase it.

        More.
        """
        return {"ok": by}

    command = registry.commands["increase"]
    assert (command.kind, command.help, command.visible) == ("control", "Increase it.", True)
    assert increase(None, 3) == {"ok": 3}


def test_all_arguments_of_celery() -> None:
    @inspect_command(
        name="look", alias="see", args=[("by", int)], signature="[by [name ...]]", variadic="names",
        default_timeout=3.0, visible=False,
    )  # fmt: skip
    def other(state: Any, by: int, names: list[str]) -> None: ...

    command = registry.commands["look"]
    assert registry.commands["see"] is command
    assert "other" not in registry.commands
    assert (command.kind, command.default_timeout) == ("inspect", 3.0)
    assert list(registry.visible("inspect")) == []
    assert read_arguments(command, ["4", "a", "b"]) == {"by": 4, "names": ["a", "b"]}


def test_arguments_in_angle_brackets_are_required() -> None:
    @control_command(args=[("task_name", str), ("soft", float), ("hard", float)], signature="<task_name> <soft> [hard]")
    def limit(state: Any, task_name: str, soft: float, hard: float | None = None) -> None:
        """Limit."""

    command = registry.commands["limit"]
    assert read_arguments(command, ["add", "1"]) == {"task_name": "add", "soft": 1.0}
    with pytest.raises(CommandError, match=r"limit <task_name> <soft> \[hard\]: an argument is missing"):
        read_arguments(command, ["add"])


def test_no_argument_in_square_brackets_is_required() -> None:
    @control_command(args=[("queue", str), ("exchange", str)], signature="[queue [<exchange>]]")
    def bind(state: Any, queue: str = "", exchange: str = "") -> None:
        """Bind."""

    @control_command(args=[("rate", str)], variadic="ids", signature="<rate (<n>/s)> <id> <or more>")
    def slow(state: Any, rate: str, ids: list[str]) -> None:
        """Slow down."""

    assert read_arguments(registry.commands["bind"], []) == {}
    assert read_arguments(registry.commands["bind"], ["q"]) == {"queue": "q"}
    assert read_arguments(registry.commands["slow"], ["1/s", "a"]) == {"rate": "1/s", "ids": ["a"]}
    with pytest.raises(CommandError, match="an argument is missing"):
        read_arguments(registry.commands["slow"], ["1/s"])


def test_the_listing_has_arguments_and_purposes() -> None:
    @control_command(args=[("n", int)], signature="[N=1]", alias="grow")
    def pool_grow(state: Any, n: int = 1) -> None:
        """Grow the pool."""

    assert listing("control") == "commands:\n  pool_grow [N=1]\n      Grow the pool."
    assert listing("inspect") == "commands:"
    command = registry.commands["grow"]
    assert read_arguments(command, []) == {}
    with pytest.raises(CommandError, match="n can't be 'x'"):
        read_arguments(command, ["x"])
    with pytest.raises(CommandError, match="'5' is too much"):
        read_arguments(command, ["1", "5"])


class Unshowable(Exception):
    def __repr__(self) -> str:
        raise ValueError("no")


def test_errors_of_handlers_are_replies() -> None:
    @control_command
    def fails(state: Any, error: str = "") -> Any:
        raise {"": ValueError("x"), "strange": Unshowable()}[error]

    state: Any = None
    assert handle(state, "nosuch", {}) == {"error": "KeyError('nosuch')"}
    assert handle(state, "fails", {}) == {"error": "ValueError('x')"}
    assert handle(state, "fails", {"error": "strange"}) == {"error": "<Unshowable>"}
    assert "unexpected keyword" in handle(state, "fails", {"other": 1})["error"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"ok": "pong"}, ("OK", "    pong")),
        ({"error": "unknown task"}, ("ERROR", "    unknown task")),
        ([], ("OK", "- empty -")),
        (["a", {"b": 1}], ("OK", "* a\n* {'b': 1}")),
        ({"clock": 2}, ("OK", '{\n    "clock": 2\n}')),
        ("61.41MB", ("OK", "61.41MB")),
        (None, ("OK", "None")),
    ],
)
def test_replies_are_shown_as_celery_shows_them(reply: Any, expected: tuple[str, str]) -> None:
    assert shown(reply) == expected
