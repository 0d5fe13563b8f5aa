"""The arguments of a call as rows, logs and monitors may show them, by the option ``sensitive`` of tasks.

Senders and workers call it for each text that outlives the message. Of a task with sensitive parameters only the
values of its other named parameters are shown: variable, surplus and misspelt arguments may be anything. Signatures
among the arguments are masked by their own task, also inside maps, links and canvases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import Parameter
from typing import Any

from taskq.messages.reprs import MASK

from .definition import TaskDefinition
from .registry import tasks

__all__ = ["refuse_reprs", "shown", "trusted_reprs"]

Args = list[Any] | tuple[Any, ...]
Kwargs = Mapping[str, Any]
Shown = tuple[Args, Kwargs]

#: Celery's tasks that call another task, with the names of their parameters in order.
_MAPS = frozenset({"celery.map", "celery.starmap", "celery.chunks"})
_MAP_PARAMETERS = ("task", "it")
#: Texts about the arguments, in the headers and options of a call.
_REPRS = ("argsrepr", "kwargsrepr")
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def shown(name: str, args: Args, kwargs: Kwargs, *, partial: bool = False) -> Shown | None:
    """Return the arguments of a call of the task ``name`` with sensitive values masked, ``None`` if there are none.

    A task that this process does not know has no sensitive arguments. A ``partial`` call may get more arguments, which
    come before its own.
    """
    try:
        found = _mask_call(name, args, kwargs, partial=partial)
    except RecursionError:  # nested deeper than can be looked through
        found = [MASK for _ in args], dict.fromkeys(kwargs, MASK)
    return None if found[0] is args and found[1] is kwargs else found


def refuse_reprs(name: str, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for ``argsrepr`` or ``kwargsrepr`` of a sensitive call: these texts can't be masked."""
    for option in _REPRS:
        if options.get(option) is not None:
            raise ValueError(f"{option} can't be given for {name}, whose arguments are masked: sensitive= names some.")


def trusted_reprs(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the headers ``argsrepr`` and ``kwargsrepr`` of a message, masked if they may show sensitive values.

    Celery, which may have sent the message, masks nothing: neither in the arguments of a task, nor in a map of it, nor
    in its signature among the arguments of another task.
    """
    if not tasks.guarded:
        return args, kwargs
    if name in tasks.guarded or name in _MAPS:
        return MASK, MASK
    return _trusted(args), _trusted(kwargs)


def _trusted(text: Any) -> Any:
    return MASK if any(name in str(text) for name in tasks.guarded) else text


# -- calls. These functions return an object itself if nothing in it is sensitive.


def _mask_call(name: str, args: Args, kwargs: Kwargs, *, partial: bool = False) -> Shown:
    """Return the masked arguments of a call."""
    if (task := tasks.get(name)) is not None and task.sensitive:
        return _mask_sensitive_call(task, args, kwargs, partial)
    if name in _MAPS:
        return _mask_map(name, args, kwargs)
    return _mask_sequence(args), _mask_mapping(kwargs)


def _mask_sensitive_call(task: TaskDefinition, args: Args, kwargs: Kwargs, partial: bool) -> Shown:
    parameters = task.call_signature.parameters
    plain = {n for n, parameter in parameters.items() if parameter.kind not in _VARIABLE and n not in task.sensitive}
    visible = {position for name, position in task.positions.items() if name in plain}
    if partial:
        # With more arguments before it, each argument may belong to any later parameter.
        visible = set() if _takes_any(parameters.values()) else _visible_to_the_end(visible, len(task.positions))
    return (
        [_mask_value(arg) if i in visible else MASK for i, arg in enumerate(args)],
        {name: _mask_value(value) if name in plain else MASK for name, value in kwargs.items()},
    )


def _takes_any(parameters: Iterable[Parameter]) -> bool:
    return any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters)


def _visible_to_the_end(visible: set[int], count: int) -> set[int]:
    """Return those of the visible positions behind which all positions are visible."""
    return {i for i in visible if visible.issuperset(range(i, count))}


def _mask_map(name: str, args: Args, kwargs: Kwargs) -> Shown:
    """Return the masked arguments of a map: its items are arguments of the task that its signature names."""
    inner = dict(zip(_MAP_PARAMETERS, args, strict=False)).get("task", kwargs.get("task"))
    called = inner.get("task") if isinstance(inner, Mapping) else None
    task = tasks.get(called) if isinstance(called, str) else None
    if task is None or not task.sensitive:
        return _mask_sequence(args), _mask_mapping(kwargs)

    def items(it: Any) -> Any:
        if not isinstance(it, list | tuple):
            return MASK
        if name == "celery.map":
            return [_mask_sensitive_call(task, [item], {}, False)[0][0] for item in it]
        return [
            _mask_sensitive_call(task, item, {}, False)[0] if isinstance(item, list | tuple) else MASK for item in it
        ]

    return (
        [
            items(arg) if i == _MAP_PARAMETERS.index("it") else _mask_value(arg, partial=True)
            for i, arg in enumerate(args)
        ],
        {n: items(value) if n == "it" else _mask_value(value, partial=True) for n, value in kwargs.items()},
    )


# -- values


def _mask_value(value: Any, *, partial: bool = False) -> Any:
    """Return ``value`` with the sensitive arguments of the signatures in it masked."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        name = value.get("task")
        if isinstance(name, str) and (name in tasks.guarded or name in _MAPS):
            return _mask_signature(name, value, partial)
        return _mask_mapping(value)
    return _mask_sequence(value) if isinstance(value, list | tuple) else value


def _mask_sequence(values: Args) -> Args:
    if _SCALARS.issuperset(map(type, values)):
        return values
    found = [_mask_value(value) for value in values]
    if all(new is old for new, old in zip(found, values, strict=True)):
        return values
    return tuple(found) if isinstance(values, tuple) else found


def _mask_mapping(values: Mapping[str, Any]) -> Mapping[str, Any]:
    if _SCALARS.issuperset(map(type, values.values())):
        return values
    found = {name: _mask_value(value) for name, value in values.items()}
    return values if all(found[name] is value for name, value in values.items()) else found


def _mask_signature(name: str, sig: Mapping[str, Any], partial: bool) -> Mapping[str, Any]:
    """Return a masked signature of a task with sensitive parameters; headers of its message are masked alike."""
    args, kwargs, options = sig.get("args") or (), sig.get("kwargs") or {}, sig.get("options")
    if not (isinstance(args, list | tuple) and isinstance(kwargs, Mapping)):
        return dict.fromkeys(sig, MASK) | {"task": name}
    hidden = _mask_call(name, args, kwargs, partial=partial or not sig.get("immutable"))
    if hidden[0] is args and hidden[1] is kwargs and name in _MAPS:
        return _mask_mapping(sig)
    found = {n: _mask_value(value) for n, value in sig.items() if n not in ("args", "kwargs")}
    found |= {n: each for n, each in zip(("args", "kwargs"), hidden, strict=True) if n in sig}
    if isinstance(options, Mapping):
        found["options"] = _without_reprs(found["options"])
    return _without_reprs(found)


def _without_reprs(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: MASK if name in _REPRS else value for name, value in found.items()}
