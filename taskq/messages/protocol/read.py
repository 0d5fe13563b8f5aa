"""Reads messages: checks headers, decodes bodies, upgrades older protocols.

The worker calls ``read_headers`` for every message in the main process, and ``decode_body`` where the task
runs. A malformed message raises only ``InvalidTaskError``, ``ContentDisallowed`` or ``DecodeError``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from taskq.exceptions import InvalidTaskError
from taskq.messages import reprs, serializers, signing
from taskq.timezones import parse_iso, to_utc
from taskq.value_kinds import LONGEST

from .options import MOST_WHOLE, is_limit, is_storable
from .wire import EMBED, RESERVED, RawMessage, mapping_of

_OF_BODY = frozenset({serializers.COMPRESSION, signing.HEADER})


@dataclass(slots=True)
class TaskHeaders:
    """The checked headers of a message. Times are UTC, limits are in seconds; ``raw`` are all headers as received.

    ``ignore_result`` is ``None`` if the sender did not set it: the task's option counts. Headers that a run does not
    need are properties: most messages are handled without them.
    """

    task: str
    id: str
    retries: int
    eta: datetime | None
    expires: datetime | None
    time_limit: float | None
    soft_time_limit: float | None
    root_id: str
    parent_id: str | None
    group: str | None
    group_index: int | None
    ignore_result: bool | None
    raw: Mapping[str, Any]

    @property
    def shadow(self) -> str | None:
        """The name to show in place of the task's."""
        return _text_or_none(self.raw.get("shadow"))

    @property
    def origin(self) -> str | None:
        """The process that sent the message."""
        return _text_or_none(self.raw.get("origin"))

    @property
    def argsrepr(self) -> str:
        """The positional arguments as the sender shows them."""
        return _text_or_none(self.raw.get("argsrepr")) or ""

    @property
    def kwargsrepr(self) -> str:
        """The keyword arguments as the sender shows them."""
        return _text_or_none(self.raw.get("kwargsrepr")) or ""

    @property
    def replaced_task_nesting(self) -> int:
        """How many tasks were replaced by one another before this one."""
        nesting = self.raw.get("replaced_task_nesting")
        return nesting if type(nesting) is int else 0

    @property
    def stamped_headers(self) -> list[str] | None:
        """The names of the stamps."""
        stamped = self.raw.get("stamped_headers")
        return list(stamped) if isinstance(stamped, list | tuple) else None

    @property
    def stamps(self) -> Mapping[str, Any]:
        """The values of the stamps, by name."""
        stamps = self.raw.get("stamps")
        return stamps if isinstance(stamps, Mapping) else {}

    @property
    def extra(self) -> dict[str, Any]:
        """The sender's own headers, without those of the protocol."""
        return {name: value for name, value in self.raw.items() if name not in RESERVED}


def read_headers(headers: Mapping[str, Any]) -> TaskHeaders:
    """Return the headers of a message of protocol 2.

    Only ``task`` and ``id`` are required. Raises ``InvalidTaskError`` if the message is no task
    of protocol 2; for protocol 1 see ``upgrade``.
    """
    get: Callable[[str], Any] = headers.get
    name, task_id, root_id = get("task"), get("id"), get("root_id")
    parent_id, group, group_index = get("parent_id"), get("group"), get("group_index")
    eta, expires, retries, limits = get("eta"), get("expires"), get("retries"), get("timelimit")
    _check_text("task", name)
    _check_text("id", task_id)
    if parent_id is not None or root_id not in (None, task_id):
        _check_lineage(root_id, parent_id)
    if group is not None or group_index is not None:
        _check_place(group, group_index)
    hard, soft = (None, None) if limits in (None, [None, None]) else _limits(limits)
    return TaskHeaders(
        name,
        task_id,
        0 if retries is None else _retries(retries),
        None if eta is None else _time("eta", eta),
        None if expires is None else _time("expires", expires),
        hard,
        soft,
        root_id or task_id,
        parent_id,
        group,
        group_index,
        get("ignore_result"),
        headers,
    )


def _check_lineage(root_id: Any, parent_id: Any) -> None:
    if root_id is not None:
        _check_text("root_id", root_id)
    if parent_id is not None:
        _check_text("parent_id", parent_id)


def _check_place(group: Any, index: Any) -> None:
    if group is not None:
        _check_text("group", group)
    if index is not None and type(index) is not int:
        _refuse("group_index", index, "a whole number")


def _retries(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_WHOLE:
        _refuse("retries", value, f"a whole number from 0 to {MOST_WHOLE}")
    return value


def _refuse(header: str, value: Any, wanted: str) -> NoReturn:
    raise InvalidTaskError(f"The header {header!r} of a message must be {wanted}, not {value!r:.200}.")


def _check_text(header: str, value: Any) -> None:
    if type(value) is not str or not is_storable(value):
        _refuse(header, value, "a text of 1 to 255 characters")


def _text_or_none(value: Any) -> str | None:
    return value if value is None or type(value) is str else str(value)


def _time(header: str, value: Any) -> datetime:
    try:
        return to_utc(value) if isinstance(value, datetime) else parse_iso(value)
    except (ValueError, TypeError, OverflowError, AttributeError) as exc:
        raise InvalidTaskError(
            f"The header {header!r} of a message is {value!r:.200}, which is not a time: {exc}"
        ) from exc


def _limits(value: Any) -> tuple[float | None, float | None]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        _refuse("timelimit", value, "[hard, soft]")
    for limit in value:
        if limit is not None and not is_limit(limit):
            _refuse("timelimit", value, f"a pair of nulls or seconds, {LONGEST} at most")
    return value[0], value[1]


# -- bodies ----------------------------------------------------------------------


#: The most bytes of a body that another process than the task's own decodes. Python's objects may take forty times as
#: much memory.
MOST_OUTSIDE = 1024 * 1024
#: The most bytes of a body that a worker's main process decodes: all of its tasks wait meanwhile, some 30 ms at worst.
#: The main process does not write longer texts either: the process of the task does.
MOST_IN_MAIN = 256 * 1024


def decode_body(
    body: str | bytes,
    content_type: str,
    content_encoding: str,
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    most: int | None = None,
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Return the arguments, the keyword arguments and the embedded follow-ups (``EMBED``).

    The seal of the message was verified before (``sealing.verify``). Raises ``ContentDisallowed``, ``DecodeError``,
    and ``InvalidTaskError`` for a body that is no task's, or that has more than ``most`` bytes.
    """
    value = load_body(body, content_type, content_encoding, headers, properties, most)
    return parts_of(upgrade(headers, value)[1] if isinstance(value, dict) else value)


def decode_message(
    message: RawMessage, headers: Mapping[str, Any], most: int | None = None
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Do ``decode_body`` for a received message; ``headers`` are its decoded headers."""
    properties = mapping_of(message.properties)
    return decode_body(message.body, message.content_type, message.content_encoding, headers, properties, most)


def parts_of(value: Any) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Return the three parts of a body of protocol 2. Raises ``InvalidTaskError`` for any other body."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise InvalidTaskError("The body of a message must be [args, kwargs, embed].")
    args, kwargs, embed = value
    if not isinstance(args, list | tuple):
        raise InvalidTaskError(f"The positional arguments of a message must be a list, not {type(args).__name__}.")
    if not isinstance(kwargs, Mapping):
        raise InvalidTaskError(f"The keyword arguments of a message must be a mapping, not {type(kwargs).__name__}.")
    if embed is not None and not isinstance(embed, Mapping):
        raise InvalidTaskError(f"The third part of a message's body must be a mapping, not {type(embed).__name__}.")
    if embed and any(embed.values()):
        _check_embed(embed)
    return list(args), dict(kwargs), dict.fromkeys(EMBED) | dict(embed or {})


def _check_embed(embed: Mapping[str, Any]) -> None:
    """Raise ``InvalidTaskError`` for invalid follow-ups before the task runs; later they would spoil a success."""
    for name in EMBED:
        if following := embed.get(name):
            _check_signatures(name, following)


def _check_signatures(name: str, following: Any) -> None:
    alone = isinstance(following, Mapping) or name == "chord"
    for sig in [following] if alone else following if isinstance(following, list | tuple) else [following]:
        if not isinstance(sig, Mapping) or not isinstance(sig.get("task"), str):
            raise InvalidTaskError(
                f"The {name} of a message must be signatures with a task, not {reprs.repr_for_error(sig)}."
            )


def load_body(
    body: str | bytes,
    content_type: str,
    content_encoding: str,
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    most: int | None = None,
) -> Any:
    """Return the decoded body. Nothing is opened or decoded before its content type and size are checked."""
    serializers.check_accepted(content_type)
    payload = serializers.sealed_part(body, properties)
    if most is not None or serializers.COMPRESSION in headers:
        payload = serializers.decompress(payload, headers, most)
    return serializers.decode(payload, content_type, content_encoding)


# -- older protocols ----------------------------------------------------------------


def upgrade(headers: Mapping[str, Any], body: Any) -> tuple[dict[str, Any], list[Any]]:
    """Return headers and body of protocol 2 for a message of protocol 1, or of a form between the two.

    In protocol 1 the body is a mapping of all fields. In the form between, the headers have ``task`` too, and each
    header wins over the field of its name. Raises ``InvalidTaskError`` for any other message.
    """
    if not isinstance(body, Mapping) or not (headers.get("task") or body.get("task")):
        raise InvalidTaskError("A message that is no task: neither its headers nor its body name one.")
    renamed = dict(body)
    if renamed.get("group") is None:
        renamed["group"] = body.get("taskset")
    naive_is_utc = bool(body.get("utc"))
    for name in ("eta", "expires"):
        renamed[name] = _with_offset(renamed.get(name), naive_is_utc)
    lifted = ("task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit")
    # Compression and signature belong to the old body.
    new = {"lang": "py"} | {name: value for name, value in headers.items() if name not in _OF_BODY}
    for name in lifted:
        if new.get(name) is None:
            new[name] = renamed.get(name)
    args, kwargs = _or_default(body.get("args"), []), _or_default(body.get("kwargs"), {})
    new.setdefault("argsrepr", reprs.short_repr(args))
    new.setdefault("kwargsrepr", reprs.short_repr(kwargs))
    return new, [args, kwargs, {name: body.get(name) for name in EMBED}]


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _with_offset(value: Any, naive_is_utc: bool) -> Any:
    """Add the offset of UTC to a time of protocol 1; ``read_headers`` refuses values that are no times."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    if moment.tzinfo is None and naive_is_utc:
        return f"{moment.isoformat()}+00:00"
    return moment.isoformat()
