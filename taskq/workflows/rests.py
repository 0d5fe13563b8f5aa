"""The rest of a long chain, which rows keep: messages carry the next steps, and a reference to the rest.

A message that carried all of its chain would make a chain of n steps cost n * n. So a chain is cut into parts. The
first part travels; each other part is the body of a ``Group`` row of size 0, which nothing counts, and the part before
it begins (the list has the next step last) with the *reference*: a signature under the name ``NAME`` whose
``task_id`` is the id of that row. A chain of up to ``MOST_STEPS`` ordinary steps travels whole, in Celery's form.

A part of more than ``MOST_BYTES`` is a single step: no other step fits beside it. A worker's main process never opens
it: opened, such a step can take many times the memory of its text, and no task would be settled meanwhile. The process
that runs the step before reads and plans it (``execution.parts``).

The key of a row says what the row is:

- ``rest:`` is an ordinary part, which a main process opens.
- ``large-rest:`` is a large step. If the chain fails before it, nobody opens the row. So the reference names the tasks
  of the step (in its links), and the reference to the part behind stands beside it, in the list of steps.
- ``unnamed-rest:`` is a large step with too many tasks to name, or behind too many such references. If the chain fails
  before it, the rows of the nodes tell its tasks.

``steps`` cuts, also a long chain of tasks that another producer has sent whole, behind its first step. The transaction
that settles the last step of a part sends the first step of the next part, and one that fails a chain fails the parts
in the rows too (``advance``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from taskq.calls.registry import tasks
from taskq.conf import database_broker_alias, settings
from taskq.exceptions import EncodeError
from taskq.messages import serializers
from taskq.records import Rest, Unreachable

from .dependents import dependents_of
from .nodes import end_of, row_key
from .types import TASK, Sig, kind_of, plain

#: The name in a reference. No task has it.
NAME = "taskq.rest"
#: The most steps that travel in a message behind its own task, and the most characters. A row has one step at least.
MOST_STEPS = 20
MOST_CHARACTERS = 32_000
#: The most bytes of a part that a worker's main process opens, and of a value that it gives to the next step: a step
#: may be many tasks, and each gets the value.
MOST_BYTES = 64 * 1024
#: The most references beside each other in one list of steps, and the most tasks that a reference names.
_MOST_REFERENCES = _MOST_NAMED = 5
_KEY, _LARGE, _UNNAMED = "rest:", "large-rest:", "unnamed-rest:"


def reference(key: str, named: Iterable[Unreachable] = ()) -> dict[str, Any]:
    """Return the signature that stands for the steps in the Group row ``key``; ``named`` are tasks in it."""
    links = [named_task(task) for task in named]
    return plain(NAME, options={"task_id": key, **({"link": links} if links else {})})


def named_task(task: Unreachable) -> dict[str, Any]:
    """Return a signature that only says which ``task`` depends on the steps before it."""
    place = {"group_id": task.group_id, "group_index": 0} if task.group_id else {}
    return plain(task.name, options={"task_id": task.task_id, **place})


def is_reference(sig: Sig) -> bool:
    """Tell whether ``sig`` stands for the rest of a chain."""
    return bool(sig.get("task") == NAME)


def is_large(key: str) -> bool:
    """Tell whether the Group row ``key`` has a step that no worker's main process opens."""
    return key.startswith((_LARGE, _UNNAMED))


def is_unnamed(key: str) -> bool:
    """Tell whether the Group row ``key`` has a large step whose tasks its reference does not name."""
    return key.startswith(_UNNAMED)


def is_planned_before(rest: Rest) -> bool:
    """Tell whether the process that runs the step before plans the next one: it is large, or gets a large value."""
    return is_large(rest.key) or len(rest.value) > MOST_BYTES


def references(unreachable: Iterable[Unreachable]) -> list[str]:
    """Return the keys of the references among dependents."""
    return [each.task_id for each in unreachable if each.name == NAME]


def shortened(chain: list[Sig], keep: Callable[[str, str], None], beside: int = _MOST_REFERENCES) -> list[Sig]:
    """Return the part of ``chain`` that travels, the next step last; ``keep`` gets the key and the text of each other.

    ``beside`` is the most references beside each other. A chain travels whole if another program than taskq may read
    it, or if JSON can't carry its arguments: rows are JSON.
    """
    if database_broker_alias() is None or not all(map(_is_json, chain)):
        return chain
    # The chain around this one may end with references: they need no row of their own.
    refs = list(takewhile(is_reference, chain))
    steps = chain[len(refs) :][::-1]
    try:
        texts = [serializers.dumps_json(step) for step in steps]
    except EncodeError:  # raised again, with the name of the argument, by the message that has the chain
        return chain
    first, *others = _parts(texts)
    for part in reversed(others):
        step = steps[part.start]
        large = sum(map(len, texts[part])) > MOST_BYTES
        named = dependents_of(step) if large else []
        is_named = large and len(named) <= _MOST_NAMED and len(refs) < beside
        # A row has the references to what is behind it. They stand beside that of a named step instead: see above.
        inside = () if is_named else map(serializers.dumps_json, refs)
        key = row_key((_LARGE if is_named else _UNNAMED) if large else _KEY, end_of(step))
        keep(key, f"[{', '.join([*inside, *reversed(texts[part])])}]")
        refs = [*refs, reference(key, named)] if is_named else [reference(key)]
    return [*refs, *reversed(steps[first])] if others else chain


def cut(chain: Sequence[Sig], keep: Callable[[str, str], None]) -> Sequence[Sig]:
    """Do ``shortened`` for a chain that came whole from another producer, if it is long and has single tasks only."""
    if len(chain) <= MOST_STEPS or not all(map(_is_frozen_task, chain)):
        return chain
    # These tasks have no nodes: the references name all.
    return shortened([*chain], keep, len(chain))


def _is_frozen_task(step: Sig) -> bool:
    complete = step.keys() >= {"task", "args", "kwargs", "options"} and not is_reference(step)
    return complete and kind_of(step) == TASK and isinstance(step["options"].get("task_id"), str)


def _parts(texts: Sequence[str]) -> Iterator[slice]:
    """Yield the places of the parts. The first may be empty: a large step waits in its row alone."""
    begin, size, may_be_empty = 0, 0, True
    for place, text in enumerate(texts):
        if place - begin == MOST_STEPS or (size + len(text) > MOST_CHARACTERS and (size or may_be_empty)):
            yield slice(begin, place)
            begin, size, may_be_empty = place, 0, False
        size += len(text)
    yield slice(begin, len(texts))


def _is_json(step: Sig) -> bool:
    """Tell whether the message of a step is JSON: another serializer may carry what JSON changes or refuses."""
    if kind_of(step) != TASK:
        return serializers.is_plain_json(settings.SERIALIZER)
    task = tasks.get(step["task"])
    own = step["options"].get("serializer") or (task.serializer if task is not None else None)
    return serializers.is_plain_json(own or settings.SERIALIZER)
