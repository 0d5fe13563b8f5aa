"""The types of signatures, as the plain dictionaries that messages carry, and their parts.

``freezing``, ``steps`` and ``dependents`` work on these dictionaries, decoded from JSON or
``Signature`` objects. Nothing here changes a signature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from taskq.conf import settings

from .fields import as_list, copied_fields, split

Sig = Mapping[str, Any]

#: The classes of signatures, by their ``subtask_type`` or the built-in task that runs them; ``canvas`` registers them.
REGISTERED: dict[str, type[Any]] = {}
TASK, CHAIN, GROUP, CHORD = "task", "chain", "group", "chord"
_BY_NAME = {"celery.chain": CHAIN, "celery.group": GROUP, "celery.chord": CHORD, "celery.chunks": GROUP}


def kind_of(sig: Sig) -> str:
    """Return the type of ``sig``, one of the four; chunks that have not been sent are a group.

    Raises ``KeyError`` for a ``subtask_type`` that is not registered.
    """
    kind = sig.get("subtask_type")
    name = sig["task"]
    if not kind:
        # Celery sends chunks inside a chain as a task with this name and an id.
        return TASK if name != "celery.chunks" or "task_id" in sig["options"] else GROUP
    if kind not in _BY_NAME.values():
        REGISTERED[kind]
    return _BY_NAME.get(name, TASK)


def steps_of(sig: Sig) -> list[Sig]:
    """Return the steps of a chain, nested chains flattened, with the chain's own callbacks and errbacks added.

    Empty groups beside other steps are left out.
    """
    steps: list[Sig] = []
    empty: list[Sig] = []
    for step in sig["kwargs"].get("tasks") or ():
        if kind_of(step) != CHAIN:
            (empty if _is_empty_group(step) else steps).append(step)
        elif inner := steps_of(step):
            if options := own_options(step):
                inner[0] = with_options(inner[0], **options)
            inner[0] = with_arguments_of(step, inner[0])
            steps += inner
    steps = steps or empty[:1]
    options = sig["options"]
    if steps and (links := as_list(options.get("link"))):
        steps[-1] = linked(steps[-1], links)
    if errbacks := as_list(options.get("link_error")):
        steps = [
            # A group with a successor becomes a chord's header.
            step if kind_of(step) == GROUP and step is not steps[-1] and not settings.ALLOW_ERROR_CB_ON_CHORD_HEADER
            else with_errbacks(step, errbacks)
            for step in steps
        ]  # fmt: skip
    return steps


def _is_empty_group(sig: Sig) -> bool:
    return sig["task"] == "celery.group" and not sig["kwargs"].get("tasks")


def members_of(header: Any) -> Iterator[Sig]:
    """Yield the members of a group or of a list of signatures, in document order, nested groups flattened.

    Members get the options of their groups, and the arguments of nested groups.
    """
    whole = own_options(header) if isinstance(header, Mapping) else {}
    waiting = [(task, whole) for task in reversed(_listed(header))]
    while waiting:
        sig, options = waiting.pop()
        kind = kind_of(sig)
        if kind == GROUP:
            below = {**own_options(sig), **options}
            waiting += ((with_arguments_of(sig, task), below) for task in reversed(_listed(sig)))
        elif kind != CHAIN or sig["kwargs"].get("tasks"):
            yield {**sig, "options": {**sig["options"], **options}} if options else sig


def _listed(header: Any) -> list[Sig]:
    if not isinstance(header, Mapping):
        return list(header or ())
    kwargs = header["kwargs"]
    if header["task"] == "celery.chunks":
        return [_starmap(kwargs["task"], part) for part in split(kwargs["it"], kwargs["n"])]
    return list(kwargs.get("tasks") or ())


def _starmap(task: Any, items: list[Any]) -> Sig:
    return plain("celery.starmap", kwargs={"task": task, "it": items}, immutable=True)


#: Options that say where a canvas stands in its workflow. They are not for its tasks.
_PLACE = frozenset(
    {"task_id", "reply_to", "root_id", "parent_id", "group_id", "group_index", "chord", "chain", "link", "link_error"}
)


def own_options(sig: Sig) -> dict[str, Any]:
    """Return the options that the tasks of a canvas inherit."""
    return {name: value for name, value in sig["options"].items() if name not in _PLACE}


def with_arguments_of(canvas: Sig, sig: Sig) -> Sig:
    """Return ``sig``, a part of a flattened canvas, with the canvas's arguments; immutable if the canvas is."""
    args, immutable = canvas.get("args"), bool(canvas.get("immutable"))
    if sig.get("immutable") or not (args or immutable):
        return sig
    return {**sig, "args": (*(args or ()), *sig["args"]), "immutable": immutable}


def body_of(sig: Sig) -> Sig:
    """Return the body of a chord. Raises ``TypeError`` if it has none."""
    body: Sig | None = sig["kwargs"].get("body")
    if body is None:
        raise TypeError("A chord needs a body: chord(header, body), or chord(header)(body).")
    return body


def ends_in_group(sig: Sig) -> bool:
    """Tell whether ``sig`` ends in a group, not in a single task."""
    while True:
        kind = kind_of(sig)
        if kind == CHORD:
            sig = body_of(sig)
        elif kind == CHAIN and (steps := steps_of(sig)):
            sig = steps[-1]
        else:
            return kind == GROUP


def plain(
    task: str,
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    kind: str | None = None,
    immutable: bool = False,
) -> dict[str, Any]:
    """Return a signature as a dictionary with the six keys."""
    return {
        "task": task,
        "args": [],
        "kwargs": dict(kwargs or {}),
        "options": dict(options or {}),
        "subtask_type": kind,
        "immutable": immutable,
    }


def completed(sig: Sig) -> dict[str, Any]:
    """Return another producer's signature with its missing keys added, also in the parts of a canvas."""
    made = copied_fields(sig)
    kwargs = made["kwargs"]
    if kind_of(made) != TASK:
        for part in ("tasks", "header", "body"):
            if isinstance(found := kwargs.get(part), Mapping):
                kwargs[part] = completed(found)
            elif found:
                kwargs[part] = [completed(each) for each in found]
    return made


def with_options(sig: Sig, **options: Any) -> dict[str, Any]:
    """Return a shallow copy of ``sig`` with more options."""
    return {**sig, "options": {**sig["options"], **options}}


def with_kwargs(sig: Sig, **kwargs: Any) -> dict[str, Any]:
    """Return a shallow copy of ``sig`` with more keyword arguments."""
    return {**sig, "kwargs": {**sig["kwargs"], **kwargs}}


def _with_links(sig: Sig, option: str, followers: list[Any]) -> dict[str, Any]:
    old = as_list(sig["options"].get(option))
    return with_options(sig, **{option: old + [follower for follower in followers if follower not in old]})


def linked(sig: Sig, callbacks: list[Any]) -> Sig:
    """Return ``sig`` with callbacks after its last task. Raises ``TypeError`` if it ends in a group."""
    kind = kind_of(sig)
    if kind == GROUP:
        raise TypeError("link: a callback can't follow a group, which has many ends; write group(...) | callback.")
    if kind == CHORD:
        return with_kwargs(sig, body=linked(body_of(sig), callbacks))
    return _with_links(sig, "link", callbacks)


def with_errbacks(sig: Sig, errbacks: list[Any]) -> Sig:
    """Return ``sig`` with errbacks on each task; on a chord's body, and with the setting on its header."""
    kind = kind_of(sig)
    if kind == GROUP:
        return with_kwargs(sig, tasks=_members_with_errbacks(sig, errbacks))
    if kind != CHORD:
        return _with_links(sig, "link_error", errbacks)
    sig = with_kwargs(sig, body=with_errbacks(body_of(sig), errbacks))
    if settings.ALLOW_ERROR_CB_ON_CHORD_HEADER:
        header = sig["kwargs"]["header"]
        members = _members_with_errbacks(header, errbacks)
        sig = with_kwargs(sig, header=with_kwargs(header, tasks=members) if isinstance(header, Mapping) else members)
    return sig


def _members_with_errbacks(header: Any, errbacks: list[Any]) -> list[Sig]:
    return [with_errbacks(member, errbacks) for member in _listed(header)]
