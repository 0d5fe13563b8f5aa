"""Checks and copies the fields of a signature (Celery's six keys), and merges them with those of a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from taskq.messages.reprs import repr_for_error

S = TypeVar("S")

Args = Sequence[Any] | None
Kwargs = Mapping[str, Any] | None

#: Options that a later call does not change once they are set.
_LASTING = ("group_id", "stamped_headers")
_SIMPLE = frozenset({str, int, float, bool, type(None), datetime})


def check_signature(value: object, where: str) -> None:
    """Raise ``TypeError`` unless ``value`` is a signature or the dictionary of one."""
    if not isinstance(value, Mapping) or "task" not in value:
        raise TypeError(f"{where} takes signatures, as add.s(2, 2), not {repr_for_error(value)}.")


def as_list(value: Any) -> list[Any]:
    """Return ``value``, which may be one signature, several or ``None``, as a new list."""
    if value is None:
        return []
    return [value] if isinstance(value, Mapping) else list(value)


def merged(
    sig: Mapping[str, Any], args: Args, kwargs: Kwargs, options: Mapping[str, Any] | None
) -> tuple[Sequence[Any], Mapping[str, Any], dict[str, Any]]:
    """Return the arguments and options of ``sig``, merged with those of a call. The options are a new dictionary.

    The call's arguments come first and its keywords win, unless ``sig`` is
    immutable; its options win but for ``group_id`` and ``stamped_headers``.
    """
    own: Mapping[str, Any] = sig["options"]
    together = {**own, **options} if options else dict(own)
    for lasting in _LASTING:
        if lasting in own:
            together[lasting] = own[lasting]
    if sig.get("immutable"):
        return sig["args"], sig["kwargs"], together
    return (
        (*args, *sig["args"]) if args else sig["args"],
        {**sig["kwargs"], **kwargs} if kwargs else sig["kwargs"],
        together,
    )


def checked_arguments(task: object, args: Any) -> tuple[Any, ...]:
    """Return positional arguments as a tuple. Raises ``TypeError`` if they are no list or tuple."""
    if not isinstance(args, list | tuple):
        raise TypeError(f"args of {task!r} must be a list or a tuple, not {type(args).__name__}: write (x,).")
    return tuple(args)


def copied_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the six keys of a signature with new containers; the values of arguments are shared."""
    get = fields.get
    return {
        "task": fields["task"],
        "args": tuple(get("args") or ()),
        "kwargs": dict(get("kwargs") or {}),
        "options": copied_options(get("options") or {}),
        "subtask_type": get("subtask_type") or None,
        "immutable": bool(get("immutable")),
    }


def copied_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of options with new containers and new signatures in them."""
    return {name: value if type(value) in _SIMPLE else _copied(value) for name, value in options.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        # A ``Signature`` has attributes besides its keys.
        clone = getattr(value, "clone", None)
        return {key: _copied(item) for key, item in value.items()} if clone is None else clone()
    return [_copied(item) for item in value] if isinstance(value, list) else value


def split(items: Iterable[S], n: int) -> Iterator[list[S]]:
    """Yield ``items`` in lists of ``n``; the last may be shorter."""
    rest = iter(items)
    while part := list(islice(rest, n)):
        yield part
