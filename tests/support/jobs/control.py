"""Commands of the tests: the worker finds them here."""

from __future__ import annotations

from typing import Any

from taskq.control import control_command, inspect_command

_value = 0


@control_command(args=[("by", int)], signature="[by=1]")
def increase(state: Any, by: int = 1) -> dict[str, str]:
    """Increase a number of the worker."""
    global _value
    _value += by
    return {"ok": f"{_value} in {state.hostname}"}


@inspect_command(alias="number", variadic="words")
def current_number(state: Any, words: Any = ()) -> dict[str, Any]:
    """Tell the number of the worker, with any words."""
    return {"number": _value, "words": list(words)}


@inspect_command
def strange(state: Any, what: str) -> Any:
    """Reply with what can't be sent, or leave."""
    if what == "exit":
        raise SystemExit(3)
    return {"set": {1, 2}, "object": object()}[what]
