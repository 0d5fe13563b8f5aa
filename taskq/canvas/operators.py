"""What ``|`` makes of two signatures: Celery's algebra, in one place.

``chain(a, b, c)`` is ``a | b | c``, but that it leaves out empty groups. A group of one that
follows a task is that one (``a | group(b)`` is ``a | b``); first, or after a group, it is a
group like any other, and what follows it gets a list of one.

Used when a canvas is written down; how what came out is run is the business of ``freezing``
and ``emitting``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskq.workflows.fields import as_list

from .chain import chain
from .chord import chord
from .group import group
from .maps import chunks
from .signature import Signature, signature

__all__ = ["as_immutable", "flattened_steps", "follow", "joined"]

AnySignature = Signature[Any]
#: Options of a chain that say something of its last task, and nothing of what comes to follow it.
_OF_ITS_END = frozenset({"link", "link_error", "task_id"})


def follow(left: AnySignature, right: AnySignature) -> AnySignature:
    """Return ``left | right``."""
    left = _sole_group(left)
    if isinstance(left, chunks):
        left = left.group()
    if isinstance(left, group):
        return chord(left, right)
    if isinstance(left, chord):
        alone = _unwrap_single(right)
        return _chain([left, alone]) if isinstance(alone, group) else left.then(right)
    if not isinstance(left, chain):
        steps = [left]
        _append(steps, right)
        return _chain(steps)
    steps, options = _open_chain(left)
    _append(steps, right)
    return _chain(steps, options)


def joined(signatures: Iterable[AnySignature]) -> list[AnySignature]:
    """Return the steps of a chain of ``signatures``: those of ``a | b | c``, without empty groups among others."""
    given = list(signatures)
    if len(given) > 1:
        given = [sig for sig in given if not (isinstance(sig, group) and not sig.tasks)]
    if not given:
        return []
    left, *rest = given
    left = _sole_group(left)
    while rest and isinstance(left, group | chord | chunks):
        left = follow(left, rest.pop(0))
    if isinstance(left, chunks):
        left = left.group()
    steps = list(flattened_steps(left)) if isinstance(left, chain) else [left]
    # In place: one step more by ``|`` is a new list, and there may be many thousands.
    for sig in rest:
        _append(steps, sig)
    return steps


def _sole_group(left: AnySignature) -> AnySignature:
    """Return the group that is all of a chain: what follows this follows that, however deep it is nested."""
    inner = left
    while isinstance(inner, chain) and len(inner.tasks) == 1 and not _has_own_options(inner):
        (inner,) = inner.tasks
    return inner if isinstance(inner, group) else left


def _open_chain(left: chain[Any]) -> tuple[list[AnySignature], dict[str, Any]]:
    """Return the steps of a chain that gets more, and its options: what follows it follows its own end."""
    if not _has_own_options(left):
        return list(left.tasks), {}
    options = {name: value for name, value in left.options.items() if name not in _OF_ITS_END}
    followers: dict[str, Any] = {name: left.options[name] for name in ("link", "link_error") if name in left.options}
    whole = _chain(left.tasks, followers)
    whole["args"], whole["immutable"] = left.args, left.immutable
    return list(flattened_steps(whole)), options


def _chain(steps: list[AnySignature], options: dict[str, Any] | None = None) -> chain[Any]:
    """Return a chain of ``steps`` as they are."""
    # Without __init__, which would join them: this runs once for each level of a nested canvas.
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


def _append(steps: list[AnySignature], sig: AnySignature) -> None:
    """Have ``sig`` follow the last of ``steps``."""
    if isinstance(sig, chunks):
        sig = sig.group()
    last = steps[-1] if steps else None
    if last is not None and not isinstance(last, group | chord):
        sig = _unwrap_single(sig)
    if isinstance(sig, chain):
        for step in flattened_steps(sig):
            _append(steps, step)
    elif isinstance(last, chord):
        steps[-1] = last.then(sig)
    elif isinstance(last, group) and not isinstance(sig, group):
        steps[-1] = chord(last, sig)
        if len(steps) > 1 and isinstance(before := steps[-2], chord):
            steps[-2:] = [before.then(steps[-1])]
    else:
        steps.append(sig)


def _unwrap_single(sig: AnySignature) -> AnySignature:
    """Return the one member of a group that has only one; what ``chunks`` stand for."""
    while True:
        if isinstance(sig, chunks):
            sig = sig.group()
        if not isinstance(sig, group) or len(sig.tasks) != 1:
            return sig
        (member,) = sig.tasks
        sig = _with_arguments_of(sig, member.clone(**sig.options) if sig.options else member)


def flattened_steps(sig: chain[Any]) -> list[AnySignature]:
    """Return the steps of a chain that becomes a part of another one, with what its options say of them."""
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
    """Tell whether a canvas says more of its parts than they themselves."""
    return bool(sig.options or sig.args or sig.immutable)


def _with_arguments_of(sig: AnySignature, first: AnySignature) -> AnySignature:
    """Return the first part of a canvas that is laid out flat, with the arguments of that, and as immutable."""
    if sig.args:
        first = first.clone(sig.args)
    if sig.immutable and not first.immutable:
        first = first.clone()
        first.set_immutable(True)
    return first


def as_immutable(sig: Any) -> AnySignature:
    """Return an immutable copy of a signature."""
    copy = signature(sig)
    copy.set_immutable(True)
    return copy
