"""Stamps: headers of every task of a canvas, kept by its retries and replacements.

As in Celery they are options of each signature: the value under the stamp's name, and the
names in ``stamped_headers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskq.calls.options import SEND_OPTIONS
from taskq.workflows.fields import as_list

from .chain import chain
from .chord import chord
from .group import group
from .signature import Signature, maybe_signature

__all__ = ["StampingVisitor", "stamp", "stamped"]

Stamps = Mapping[str, Any]
#: Options of a message, which can't be names of stamps.
_RESERVED = SEND_OPTIONS | {"stamped_headers", "stamps", "callbacks", "errbacks", "reset", "immutable"}


class StampingVisitor:
    """Returns the stamps for each part of a canvas; a subclass overrides the methods that it needs.

    Every method returns a dictionary of stamps, or ``None``. With the key ``"stamped_headers"``,
    only the keys named there are stamps.
    """

    def on_signature(self, sig: Signature[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of one task."""
        raise NotImplementedError("A StampingVisitor needs on_signature(sig, **headers).")

    def on_group_start(self, sig: group[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of all tasks in a group."""

    def on_group_end(self, sig: group[Any], **headers: Any) -> None:
        """Called after a group is stamped."""

    def on_chain_start(self, sig: chain[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of all tasks in a chain."""

    def on_chain_end(self, sig: chain[Any], **headers: Any) -> None:
        """Called after a chain is stamped."""

    def on_chord_header_start(self, sig: chord[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of all tasks in the header of a chord."""

    def on_chord_header_end(self, sig: chord[Any], **headers: Any) -> None:
        """Called after the header of a chord is stamped."""

    def on_chord_body(self, sig: chord[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of the body of a chord."""

    def on_callback(self, callback: Signature[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of a callback."""

    def on_errback(self, errback: Signature[Any], **headers: Any) -> Stamps | None:
        """Return the stamps of an errback."""


class _SameStamps(StampingVisitor):
    """Gives every task the same stamps."""

    def __init__(self, stamps: Stamps) -> None:
        self.stamps = stamps

    def on_signature(self, sig: Signature[Any], **headers: Any) -> Stamps | None:
        return self.stamps


def stamp(sig: Signature[Any], visitor: StampingVisitor | None, append: bool, stamps: Stamps) -> None:
    """See ``Signature.stamp``."""
    if visitor is not None:
        _Stamper(visitor, append).visit(sig, stamps)
    else:
        _Stamper(_SameStamps(stamps), append).visit(sig, {})


def stamped(sig: Mapping[str, Any], request: Any) -> Mapping[str, Any]:
    """Return ``sig`` with the stamps of the running task."""
    stamps = {name: (request.stamps or {}).get(name) for name in request.stamped_headers or ()}
    if not stamps:
        return sig
    copy = Signature.from_dict(sig)
    stamp(copy, None, False, stamps)
    return copy


class _Stamper:
    """Walks through a canvas and stamps its tasks with what a visitor returns."""

    def __init__(self, visitor: StampingVisitor, append: bool) -> None:
        self.visitor = visitor
        self.append = append

    def visit(self, sig: Signature[Any], outer: Stamps) -> None:
        """Stamp ``sig``, all its parts and its callbacks. ``outer`` are the stamps of the canvas around it."""
        if isinstance(sig, chord):
            self._stamp_chord(sig, outer)
        elif isinstance(sig, group):
            inner = {**outer, **_stamps(self.visitor.on_group_start(sig, **outer))}
            self._stamp_each(sig.kwargs, "tasks", inner)
            self.visitor.on_group_end(sig, **outer)
        elif isinstance(sig, chain):
            inner = {**outer, **_stamps(self.visitor.on_chain_start(sig, **outer))}
            self._stamp_each(sig.kwargs, "tasks", inner)
            self.visitor.on_chain_end(sig, **outer)
        else:
            _stamp_task(sig, {**outer, **_stamps(self.visitor.on_signature(sig, **outer))}, self.append)
        self._stamp_callbacks(sig, "link", self.visitor.on_callback, outer)
        self._stamp_callbacks(sig, "link_error", self.visitor.on_errback, outer)

    def _stamp_chord(self, sig: chord[Any], outer: Stamps) -> None:
        inner = {**outer, **_stamps(self.visitor.on_chord_header_start(sig, **outer))}
        header = sig.kwargs["header"]
        self._stamp_each(*((header.kwargs, "tasks") if isinstance(header, group) else (sig.kwargs, "header")), inner)
        self.visitor.on_chord_header_end(sig, **outer)
        inner = {**outer, **_stamps(self.visitor.on_chord_body(sig, **outer))}
        if sig.body is not None:
            sig.body = sig.body.clone()
            self.visit(sig.body, inner)

    def _stamp_each(self, fields: dict[str, Any], key: str, outer: Stamps) -> None:
        """Stamp copies of signatures: the originals may also be in other places."""
        fields[key] = [task.clone() for task in fields[key]]
        for task in fields[key]:
            self.visit(task, outer)

    def _stamp_callbacks(
        self, sig: Signature[Any], option: str, ask: Callable[..., Stamps | None], outer: Stamps
    ) -> None:
        if followers := as_list(sig.options.get(option)):
            made = [found.clone() for found in map(maybe_signature, followers) if found is not None]
            for follower in made:
                self.visit(follower, {**outer, **_stamps(ask(follower, **outer))})
            sig.options[option] = made


def _stamps(given: Stamps | None) -> dict[str, Any]:
    stamps = dict(given or {})
    names = stamps.pop("stamped_headers", None)
    return stamps if names is None else {name: stamps[name] for name in names if name in stamps}


def _stamp_task(sig: Signature[Any], stamps: Stamps, append: bool) -> None:
    """Stamp one task. Existing stamps stay, or with ``append`` get more values."""
    if taken := sorted(_RESERVED.intersection(stamps)):
        raise ValueError(f"A stamp can't be named {taken[0]!r}: apply_async() has an option of that name.")
    names = list(sig.options.get("stamped_headers") or ())
    for name, value in stamps.items():
        if name not in names:
            names.append(name)
            sig.options[name] = value
        elif append:
            old = _values(sig.options.get(name))
            sig.options[name] = old + [item for item in _values(value) if item not in old]
    sig.options["stamped_headers"] = names


def _values(value: Any) -> list[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return [] if value is None else [value]
