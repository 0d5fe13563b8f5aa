"""The parameters of a task as fields of a form, and what was filled in as the arguments of a call.

A field follows the annotation of its parameter, or the type of its default; what is neither text, number, truth value
nor date is JSON. Left empty, a parameter keeps its default. Called by ``run_form``; it sends nothing.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from inspect import Parameter
from typing import Any, NoReturn

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from kombu.utils import json as kombu_json

from taskq.calls.registry import tasks
from taskq.exceptions import EncodeError
from taskq.messages.serializers import dumps_json

#: What the names of the fields begin with: a parameter may be called as an option of the call.
PREFIX = "argument_"
_LONGEST_DEFAULT = 100
_BY_NAME = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
_CHOICES = (("true", gettext_lazy("yes")), ("false", gettext_lazy("no")))


class JSONText(forms.CharField):
    """JSON that is typed in. Numbers stay exact, and ``kind`` says which type the whole has to have."""

    widget = forms.Textarea(attrs={"rows": 2, "cols": 60, "spellcheck": "false", "autocomplete": "off"})

    def __init__(self, *, kind: type | None = None, **options: Any) -> None:
        super().__init__(strip=True, **options)
        self.kind = kind

    def clean(self, value: Any) -> Any:
        """Return the parsed value; ``None`` for an empty field, which ``has_value`` tells from ``null``."""
        text = super().clean(value)
        if not text:
            return None
        found = parsed(text)
        if self.kind is not None and not isinstance(found, self.kind):
            word = _("a list") if self.kind is list else _("an object")
            raise forms.ValidationError(_("This has to be %(kind)s in JSON.") % {"kind": word})
        return found


def parsed(text: str) -> Any:
    """Return the value of a JSON text, with kombu's types such as datetimes. Raises ``ValidationError``."""
    try:
        json.loads(text, parse_constant=_refuse)
        text.encode()
        value = kombu_json.loads(text)
        json.dumps(value, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise forms.ValidationError(_("This is no valid JSON: %(error)s") % {"error": str(error)[:200]}) from error
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


class Truth(forms.TypedChoiceField):
    """Yes or no; without a default one of them has to be chosen."""

    def __init__(self, **options: Any) -> None:
        empty = [("", _("default") if not options.get("required") else "---------")]
        super().__init__(choices=[*empty, *_CHOICES], coerce=lambda text: text == "true", empty_value=None, **options)


class Text(forms.CharField):
    """Text that is passed on as it is typed, several lines too."""

    widget = forms.Textarea(attrs={"rows": 1, "cols": 60, "autocomplete": "off"})

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, **options)

    def clean(self, value: Any) -> Any:
        """Return the text with the ends of lines that it had before a browser wrote others."""
        return super().clean(value).replace("\r\n", "\n")


_FIELDS: Mapping[Any, Callable[..., forms.Field]] = {
    str: Text,
    int: forms.IntegerField,
    float: forms.FloatField,
    bool: Truth,
    date: forms.DateField,
    datetime: forms.DateTimeField,
}


def choices() -> list[str]:
    """Return the names of the tasks that this process knows, without built-in ones."""
    own = ("celery.", "taskq.", "taskq_admin.")
    return sorted(name for name in tasks if not name.startswith(own))


def fields(name: str) -> dict[str, forms.Field]:
    """Return a field for each parameter of the task ``name``."""
    task = tasks[name]
    hints = _hints(task)
    return {
        PREFIX + parameter.name: _field(parameter, hints.get(parameter.name), parameter.name in task.sensitive)
        for parameter in task.call_signature.parameters.values()
    }


def _hints(task: Any) -> dict[str, Any]:
    function = inspect.unwrap(getattr(task.run, "__func__", task.run))
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that exists for type checkers only
        return {name: raw for name, raw in getattr(function, "__annotations__", {}).items() if not isinstance(raw, str)}


def _field(parameter: Parameter, hint: Any, hidden: bool) -> forms.Field:
    has_default = parameter.default is not Parameter.empty
    kind, optional = _without_none(hint if hint is not None else _type_of(parameter.default))
    options: dict[str, Any] = {
        "label": parameter.name,
        "required": not (has_default or optional),
        "help_text": _help(parameter, kind, hidden),
    }
    if hidden:
        options["widget"] = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return JSONText(kind=list, **options | {"required": False, "label": f"*{parameter.name}"})
    if parameter.kind is Parameter.VAR_KEYWORD:
        return JSONText(kind=dict, **options | {"required": False, "label": f"**{parameter.name}"})
    make = _FIELDS.get(kind, JSONText) if isinstance(kind, type) else JSONText
    if hidden and make is Truth:
        make = JSONText
    return make(**options)


def _type_of(default: Any) -> Any:
    return None if default is Parameter.empty or default is None else type(default)


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return ``X`` and true for ``X | None``; any other annotation as it is, and false."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(hint) if each is not type(None)]
        if len(others) < len(typing.get_args(hint)):
            return (others[0] if len(others) == 1 else None), True
    return hint, False


def _help(parameter: Parameter, kind: Any, hidden: bool) -> str:
    words = [] if kind is None or (isinstance(kind, type) and kind in _FIELDS) else [_shown(kind)]
    if parameter.default is not Parameter.empty and not hidden:
        words.append(_("Empty: %(default)s.") % {"default": _cut(repr(parameter.default))})
    if hidden:
        words.append(_("Sensitive: it is masked everywhere but in the message."))
    return " ".join(words)


def _shown(kind: Any) -> str:
    return f"JSON ({_cut(getattr(kind, '__name__', str(kind)))})."


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_DEFAULT else f"{text[:_LONGEST_DEFAULT]}…"


# -- the call


def filled(name: str, cleaned: Mapping[str, Any], given: Callable[[str], bool]) -> dict[str, Any]:
    """Return the arguments by the names of their parameters, ``Parameter.empty`` for those that keep their default.

    ``given`` tells whether a field was filled in.
    """
    parameters = tasks[name].call_signature.parameters.values()
    return {p.name: _value(p, cleaned.get(PREFIX + p.name), given(PREFIX + p.name)) for p in parameters}


def call(name: str, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call with these ``values``, as ``filled`` returns them.

    Raises ``TypeError`` if the function does not take them.
    """
    task = tasks[name]
    parameters = list(task.call_signature.parameters.values())
    more: list[Any] = next((values[p.name] or [] for p in parameters if p.kind is Parameter.VAR_POSITIONAL), [])
    kinds = {Parameter.POSITIONAL_ONLY} | ({Parameter.POSITIONAL_OR_KEYWORD} if more else set())
    args = [*_by_position([p for p in parameters if p.kind in kinds], values, all_of_them=bool(more)), *more]
    kwargs = {p.name: values[p.name] for p in parameters if p.kind in _BY_NAME - kinds}
    kwargs = {key: value for key, value in kwargs.items() if value is not Parameter.empty}
    for parameter in parameters:
        if parameter.kind is Parameter.VAR_KEYWORD:
            kwargs |= values[parameter.name] or {}
    task.check_arguments(args, kwargs)
    return args, kwargs


def _by_position(parameters: list[Parameter], filled: Mapping[str, Any], *, all_of_them: bool) -> list[Any]:
    """Return the values up to the last that was filled in, or all; defaults stand for those that were not."""
    values = [filled[p.name] for p in parameters]
    while values and values[-1] is Parameter.empty and not all_of_them:
        values.pop()
    return [p.default if value is Parameter.empty else value for p, value in zip(parameters, values, strict=False)]


def _value(parameter: Parameter, value: Any, given: bool) -> Any:
    """Return the argument, ``Parameter.empty`` for the default, ``None`` where nothing else can be meant."""
    if given:
        return value
    return Parameter.empty if parameter.default is not Parameter.empty else None


@dataclass(frozen=True, slots=True)
class Before:
    """A call that was made: its ``values`` by the names of the parameters, and ``typed``, what the fields show of it.

    ``typed`` has an entry for each field but for those of arguments that were not given.
    """

    values: Mapping[str, Any]
    typed: Mapping[str, str]


def before(name: str, args: list[Any], kwargs: dict[str, Any]) -> Before:
    """Return what fields begin with for these arguments.

    Raises ``TypeError`` if the function does not take them, ``ValueError`` if a field can't show one as it is.
    """
    signature = tasks[name].call_signature
    bound = signature.bind(*args, **kwargs).arguments
    known = fields(name)
    typed = {PREFIX + each: _typed(signature.parameters[each], bound[each], known[PREFIX + each]) for each in bound}
    absent = {p.name: _value(p, None, given=False) for p in signature.parameters.values()}
    return Before({**absent, **bound}, typed)


def _typed(parameter: Parameter, value: Any, field: forms.Field) -> str:
    """Return the text that is in a field for ``value``; as it stands there it means exactly this value."""
    value = list(value) if parameter.kind is Parameter.VAR_POSITIONAL else value
    text = _text(value, field)
    try:
        meant = _value(parameter, field.clean(text), given=bool(text))
        meant = parameter.default if meant is Parameter.empty else meant
        is_same = _is_number(value) and _is_number(meant) and value == meant
        if is_same or dumps_json(meant) == dumps_json(value):
            return text
    except (forms.ValidationError, EncodeError):
        pass
    raise ValueError(f"{parameter.name} can't be shown in its field as it is.")


def _text(value: Any, field: forms.Field) -> str:
    if isinstance(field, JSONText):
        return json.dumps(json.loads(dumps_json(value)), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
