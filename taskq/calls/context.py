"""The context of a running task: ``self.request`` and ``current_task``.

``execution`` enters a ``Context`` around each run, and a direct call enters one without a message. Senders get their
parent from ``running()``. A context variable holds the innermost context of each thread and coroutine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any, Protocol

from taskq.exceptions import Retry
from taskq.messages.protocol.wire import RESERVED, ReceivedMessage
from taskq.records import Envelope

from .definition import TaskDefinition

__all__ = ["Context", "current", "enter", "innermost_of", "leave", "running", "runs"]


class Transaction(Protocol):
    """A database transaction of the running task; see ``sending.transactions.OpenTransaction``."""

    @property
    def rolled_back(self) -> bool: ...


#: ``report(task_id, state, meta)`` writes a state of a running task; with a fourth argument it sends an event of that
#: type instead.
Reporter = Callable[..., None]
_NOTHING: Mapping[str, Any] = {}


class Context:
    """One run of a task: ``self.request``.

    ``definition`` is the task itself. ``message`` are the headers of the message; rarely used attributes are read
    from them on access. A missing attribute raises ``AttributeError``; ``get`` takes a default.
    """

    #: False if a worker (or ``apply``) runs the task, true for ``add(2, 2)``.
    called_directly = True
    is_eager = False
    id: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    retries = 0
    root_id: str | None = None
    parent_id: str | None = None
    hostname: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    ignore_result = False
    utc = True
    #: Celery's attributes, always ``None`` here: Django's ``LOGGING`` configures the log.
    logfile: str | None = None
    loglevel: int | None = None
    message: Mapping[str, Any] = _NOTHING
    properties: Mapping[str, Any] = _NOTHING
    embed: Mapping[str, Any] = _NOTHING
    #: ``exchange``, ``routing_key``, ``priority`` and ``redelivered`` of the message.
    delivery_info: Mapping[str, Any] | None = None
    #: The results of the tasks that this run has sent.
    children: list[Any]
    #: Set by the worker; ``None`` when nothing can be written.
    report: Reporter | None = None
    #: The received message; the message of a retry is a changed copy of it.
    received: ReceivedMessage | None = None
    #: The limit that ``retry(max_retries=...)`` was given in this run; automatic retries keep to it.
    max_retries: int | None = None
    #: The exception of ``retry()``, and the message of the next try.
    pending_retry: Retry | None = None
    next_try: Envelope | None = None
    #: The plan of ``replace()`` (a ``workflows.plan.Plan``), sent when the run has ended.
    replacement: Any = None
    #: What ``taskq.body`` or ``taskq.errbacks`` has planned (an ``execution.bodies.Ending``).
    ending: Any = None
    #: The plans of ``add_to_chord()``, sent if the run succeeds.
    added: list[Any]

    def __init__(self, task: TaskDefinition, outer: Context | None = None, **fields: Any) -> None:
        self.definition = task
        self.outer = outer
        self.children = []
        self.added = []
        self._in_transactions: list[tuple[Transaction, list[Any], list[Any]]] = []
        self.entered = False
        self.__dict__.update(fields)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the attribute ``name``, or ``default`` if there is none."""
        return getattr(self, name, default)

    def remember(self, kept: list[Any], items: Iterable[Any], transaction: Transaction | None) -> None:
        """Add ``items`` to ``kept`` (``children`` or ``added``); a rollback of ``transaction`` removes them again."""
        items = list(items)
        kept.extend(items)
        if transaction is not None:
            self._in_transactions.append((transaction, kept, items))

    def forget_rolled_back(self) -> None:
        """Forget items that were remembered in transactions that were rolled back."""
        for transaction, kept, items in self._in_transactions:
            if transaction.rolled_back:
                for item in items:
                    kept.remove(item)
        self._in_transactions.clear()

    def __repr__(self) -> str:
        return f"<Context: {self.name}[{self.id}]>"

    # Read from the headers of the message, under their names in Celery's protocol 2.

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    #: Celery's name of the attribute.
    task = name

    @property
    def headers(self) -> dict[str, Any] | None:
        """The sender's own headers, without those of the protocol."""
        own = {name: value for name, value in self.message.items() if name not in _NOT_THE_SENDERS}
        return own or None

    @property
    def shadow(self) -> str | None:
        """The name that monitors show instead of the task's."""
        return self._text("shadow")

    @property
    def eta(self) -> str | None:
        """The earliest time to start the task, ISO 8601."""
        return self._text("eta")

    @property
    def expires(self) -> str | None:
        """The latest time to start the task, ISO 8601."""
        return self._text("expires")

    @property
    def origin(self) -> str | None:
        """The process that sent the message."""
        return self._text("origin")

    @property
    def argsrepr(self) -> str | None:
        """The positional arguments as monitors show them."""
        return self._text("argsrepr")

    @property
    def kwargsrepr(self) -> str | None:
        """The keyword arguments as monitors show them."""
        return self._text("kwargsrepr")

    @property
    def group(self) -> str | None:
        """The id of the group that this task is a member of."""
        return self._text("group")

    group_id = group

    @property
    def group_index(self) -> int | None:
        """This task's place in its group."""
        index: int | None = self.message.get("group_index")
        return index

    @property
    def timelimit(self) -> list[float | None]:
        """The limits ``[hard, soft]`` in the message, in seconds."""
        return list(self.message.get("timelimit") or (None, None))

    @property
    def time_limit(self) -> float | None:
        """The hard limit in the message, in seconds."""
        return self.timelimit[0]

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit in the message, in seconds."""
        return self.timelimit[1]

    @property
    def replaced_task_nesting(self) -> int:
        """The number of replacements before this run."""
        return int(self.message.get("replaced_task_nesting") or 0)

    @property
    def stamped_headers(self) -> list[str] | None:
        """The names of the stamps."""
        names: list[str] | None = self.message.get("stamped_headers")
        return names

    @property
    def stamps(self) -> dict[str, Any] | None:
        """The stamps by name."""
        stamps: dict[str, Any] | None = self.message.get("stamps")
        return stamps

    # Read from the body.

    @property
    def callbacks(self) -> list[Any] | None:
        """The signatures to run after a success."""
        found: list[Any] | None = self.embed.get("callbacks")
        return found

    @property
    def errbacks(self) -> list[Any] | None:
        """The signatures to run after a failure."""
        found: list[Any] | None = self.embed.get("errbacks")
        return found

    @property
    def chain(self) -> list[Any] | None:
        """The rest of the chain, the next step last."""
        found: list[Any] | None = self.embed.get("chain")
        return found

    @property
    def chord(self) -> Any:
        """The body of the chord that this task is in."""
        return self.embed.get("chord")

    def _text(self, header: str) -> str | None:
        value: str | None = self.message.get(header)
        return value


_NOT_THE_SENDERS = RESERVED | {"redelivered"}

_innermost: ContextVar[Context | None] = ContextVar("taskq.task", default=None)
#: The runs of this process by task id, in all of its threads.
_runs: dict[str, Context] = {}


def current() -> Context | None:
    """Return the innermost context of this thread or coroutine, direct calls included."""
    return _innermost.get()


def running() -> Context | None:
    """Return the context of the task that a worker (or ``apply``) runs here, skipping direct calls."""
    context = _innermost.get()
    while context is not None and context.called_directly:
        context = context.outer
    return context


def enter(context: Context) -> Token[Context | None]:
    """Make ``context`` the innermost context, until ``leave`` gets the returned token."""
    if context.id is not None:
        _runs[context.id] = context
    return _innermost.set(context)


def leave(token: Token[Context | None]) -> None:
    """Undo ``enter``."""
    context = _innermost.get()
    if context is not None and context.id is not None:
        _runs.pop(context.id, None)
    _innermost.reset(token)


def runs() -> dict[str, Context]:
    """Return the runs of this process by task id: also those of other threads, without direct calls."""
    return _runs.copy()


def innermost_of(task: TaskDefinition) -> Context | None:
    """Return the innermost context of ``task`` in this thread or coroutine, ``None`` if the task is not running."""
    context = _innermost.get()
    while context is not None and context.definition is not task:
        context = context.outer
    return context


def context_of(task: TaskDefinition) -> Context:
    """Return the innermost context of ``task``, or a new one if the task is not running."""
    context = innermost_of(task)
    return context if context is not None else Context(task)
