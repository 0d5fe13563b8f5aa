"""The operator ``|`` of signatures: Celery's algebra, in one place.

- ``chain(a, b, c)`` is ``a | b | c`` without empty groups. ``|`` leaves out an empty group after a chain or a group.
- After a task, a group of one member is replaced by the member: ``a | group(b)`` is ``a | b``.
- At the start of a chain, or after a group, it stays a group, and its successor gets a list of one value.

Used when a canvas is built; ``workflows.freezing`` and ``workflows.steps`` prepare it for sending. The
functions change and keep the signatures that they get: their callers pass copies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskq.workflows.fields import as_list

from .chain import chain
from .chord import chord
from .group import group
from .maps import chunks
from .signature import Signature

__all__ = ["add_behind", "chained_steps", "flattened_steps", "follow"]

AnySignature = Signature[Any]
#: Options of a chain for its last task, not for steps that are added behind it.
_LAST_TASK_OPTIONS = frozenset({"link", "link_error", "task_id"})


def follow(left: AnySignature, right: AnySignature) -> AnySignature:
    """Return ``left | right``."""
    left = _sole_group(left)
    if isinstance(left, chunks):
        left = left.group()
    if _is_empty_group(right) and isinstance(left, chain | group):
        return left
    if isinstance(left, group):
        return _chord(left, right)
    if isinstance(left, chord):
        alone = _unwrap_single(right)
        return _chain([left, alone]) if isinstance(alone, group) else add_behind(left, right)
    if not isinstance(left, chain):
        steps = [left]
        _append(steps, right, keep_empty=True)
        return _chain(steps)
    steps, options = _open_chain(left)
    _append(steps, right)
    return _chain(steps, options)


def add_behind(sig: chord[Any], other: AnySignature) -> chord[Any]:
    """Add ``other`` behind the body of a chord, or as its body, and return the chord."""
    sig.body = other if sig.body is None else follow(sig.body, other)
    return sig


def chained_steps(signatures: Iterable[AnySignature]) -> list[AnySignature]:
    """Return the steps of a chain of ``signatures``, as of ``a | b | c``; empty groups among others are left out."""
    given = list(signatures)
    if len(given) > 1:
        given = [sig for sig in given if not _is_empty_group(sig)]
    if not given:
        return []
    left, *rest = given
    left = _sole_group(left)
    while rest and isinstance(left, group | chord | chunks):
        left = follow(left, rest.pop(0))
    if isinstance(left, chunks):
        left = left.group()
    steps = list(flattened_steps(left)) if isinstance(left, chain) else [left]
    # In place, because each ``|`` would copy the list: there may be many thousands of steps.
    for sig in rest:
        _append(steps, sig)
    return steps


def _sole_group(left: AnySignature) -> AnySignature:
    """Return the group if ``left`` is a chain of one group, however deep it is nested, else ``left``."""
    inner = left
    while isinstance(inner, chain) and len(inner.tasks) == 1 and not _has_own_options(inner):
        (inner,) = inner.tasks
    return inner if isinstance(inner, group) else left


def _open_chain(left: chain[Any]) -> tuple[list[AnySignature], dict[str, Any]]:
    """Return the steps and the options of a chain that gets further steps: its callbacks go to its old last task."""
    if not _has_own_options(left):
        return list(left.tasks), {}
    options = {name: value for name, value in left.options.items() if name not in _LAST_TASK_OPTIONS}
    followers: dict[str, Any] = {name: left.options[name] for name in ("link", "link_error") if name in left.options}
    whole = _chain(left.tasks, followers)
    whole["args"], whole["immutable"] = left.args, left.immutable
    return list(flattened_steps(whole)), options


def _chain(steps: list[AnySignature], options: dict[str, Any] | None = None) -> chain[Any]:
    """Return a chain of ``steps``, unchanged."""
    # Without __init__, which would combine them again at each level of a nested canvas.
    made: chain[Any] = chain.__new__(chain)
    made.update(
        task="celery.chain",
        args=(),
        kwargs={"tasks": steps},
        options={} if options is None else options,
        subtask_type="chain",
        immutable=False,
    )
    return made


def _chord(header: group[Any], body: AnySignature) -> chord[Any]:
    """Return a chord of ``header`` and ``body``, unchanged."""
    # Without __init__, which would copy them.
    made: chord[Any] = chord.__new__(chord)
    made.update(
        task="celery.chord",
        args=(),
        kwargs={"kwargs": {}, "header": header, "body": body},
        options={},
        subtask_type="chord",
        immutable=False,
    )
    return made


def _is_empty_group(sig: AnySignature) -> bool:
    return isinstance(sig, group) and not sig.tasks


def _append(steps: list[AnySignature], sig: AnySignature, keep_empty: bool = False) -> None:
    """Add ``sig`` behind the last of ``steps``; an empty group only with ``keep_empty``."""
    if isinstance(sig, chunks):
        sig = sig.group()
    if _is_empty_group(sig) and not keep_empty:
        return
    last = steps[-1] if steps else None
    if last is not None and not isinstance(last, group | chord):
        sig = _unwrap_single(sig)
    if isinstance(sig, chain):
        for step in flattened_steps(sig):
            _append(steps, step, keep_empty)
    elif isinstance(last, chord):
        add_behind(last, sig)
    elif isinstance(last, group) and not isinstance(sig, group):
        steps[-1] = _chord(last, sig)
        if len(steps) > 1 and isinstance(before := steps[-2], chord):
            steps[-2:] = [add_behind(before, steps[-1])]
    else:
        steps.append(sig)


def _unwrap_single(sig: AnySignature) -> AnySignature:
    """Return the member of a group of one, chunks as a group, and any other signature unchanged."""
    while True:
        if isinstance(sig, chunks):
            sig = sig.group()
        if not isinstance(sig, group) or len(sig.tasks) != 1:
            return sig
        (member,) = sig.tasks
        sig = _with_arguments_of(sig, member.clone(**sig.options) if sig.options else member)


def flattened_steps(sig: chain[Any]) -> list[AnySignature]:
    """Return the steps of a chain for use in another chain, with the options, callbacks and arguments of the chain."""
    if not sig.tasks or not _has_own_options(sig):
        return sig.tasks
    options = dict(sig.options)
    links, errbacks = as_list(options.pop("link", None)), as_list(options.pop("link_error", None))
    options.pop("task_id", None)
    steps = [step.clone() for step in sig.tasks]
    if options:
        steps[0] = steps[0].clone(**options)
    steps[0] = _with_arguments_of(sig, steps[0])
    for link in links:
        steps[-1].link(link)
    for errback in errbacks:
        for step in steps:
            step.link_error(errback)
    return steps


def _has_own_options(sig: AnySignature) -> bool:
    """Tell whether a canvas has options or arguments for its parts."""
    return bool(sig.options or sig.args or sig.immutable)


def _with_arguments_of(sig: AnySignature, first: AnySignature) -> AnySignature:
    """Return the first part of a flattened canvas with the canvas's arguments; immutable if the canvas is."""
    if sig.args:
        first = first.clone(sig.args)
    if sig.immutable and not first.immutable:
        first = first.clone()
        first.set_immutable(True)
    return first
