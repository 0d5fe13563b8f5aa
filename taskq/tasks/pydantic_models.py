"""``@task(pydantic=True)``: arguments and return values that are pydantic's models, as in Celery.

Messages hold plain data. The sender turns models among the arguments into data; the task's function gets models again,
validated, and the model that it returns becomes data. pydantic is optional: only such tasks import it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, wraps
from importlib import import_module
from typing import Any

from django.core.exceptions import ImproperlyConfigured

__all__ = ["Models"]

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Models:
    """The models in the signature of one task's function.

    Annotations are read on first use, because a class may be defined below the function.

    Args:
        function: the function.
        name: the task's name; validators find it in their context as ``celery_task_name``.
        bind: whether the function's first parameter is the task.
        strict: validate without converting types.
        context: the context of pydantic's validation.
        dump_kwargs: arguments of ``model_dump``; the default is ``mode="json"``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        bind: bool,
        strict: bool = False,
        context: Mapping[str, Any] | None = None,
        dump_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            self._base: Any = import_module("pydantic").BaseModel
        except ImportError:
            raise ImproperlyConfigured(
                f"@task of {name}: pydantic=True needs pydantic: pip install 'taskq-django[pydantic]'."
            ) from None
        self._function = function
        self._signature = inspect.signature(function)
        parameters = list(self._signature.parameters.values())[1 if bind else 0 :]
        self._own = self._signature.replace(parameters=parameters)
        self._positional = [parameter.name for parameter in parameters if parameter.kind in _BY_POSITION]
        self._named = {parameter.name for parameter in parameters if parameter.kind in _BY_NAME}
        #: Parameters whose values errors do not show; set when the task has checked its options.
        self.sensitive: Sequence[str] = ()
        self._strict = strict
        self._context = {**(context or {}), "celery_task_name": name}
        self._dump_kwargs = {"mode": "json", **(dump_kwargs or {})}

    # -- where the task runs

    def wrapped(self) -> Callable[..., Any]:
        """Return the function that validates its arguments, and returns plain data."""
        function = self._function
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                bound = self._bound(args, kwargs)
                return self._plain(await function(*bound.args, **bound.kwargs))

            return run_async

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = self._bound(args, kwargs)
            return self._plain(function(*bound.args, **bound.kwargs))

        return run

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if (model := self._model(name, value)) is not None:
                validated = self._validated_without_input if name in self.sensitive else self._validated
                bound.arguments[name] = validated(model, value)
        return bound

    def _plain(self, value: Any) -> Any:
        """Return a model as data if the function is annotated to return it."""
        returned = _without_none(self._annotations.get("return"))
        if isinstance(value, self._base) and inspect.isclass(returned) and issubclass(type(value), returned):
            return value.model_dump(**self._dump_kwargs)
        return value

    # -- where the task is sent

    def dumped(
        self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
    ) -> tuple[Sequence[Any] | None, Mapping[str, Any] | None]:
        """Return the arguments of a call with models as data. A model that would change on the way stays as it is."""
        given, named = args or (), kwargs or {}
        if not self._any_model(given) and not self._any_model(named.values()):
            return args, kwargs
        try:
            self._own.bind(*given, **named)
        except TypeError:  # wrong arguments: an error of the run, or of the call with typing=True
            return args, kwargs
        names = self._positional
        positional = [self._dumped(names[i], v) if i < len(names) else v for i, v in enumerate(given)]
        by_name = {name: self._dumped(name, v) if name in self._named else v for name, v in named.items()}
        return positional, by_name

    def _any_model(self, values: Iterable[Any]) -> bool:
        return any(isinstance(value, self._base) for value in values)

    def _dumped(self, name: str, value: Any) -> Any:
        # kombu asks an object that has __json__ itself.
        if not isinstance(value, self._base) or hasattr(type(value), "__json__"):
            return value
        if (model := self._model(name, value)) is None:
            return value
        # Validators and serializers are user code, which may raise here. The encoder then refuses the model.
        try:
            data = value.model_dump(**self._dump_kwargs)
            return data if self._validated(model, data) == value else value
        except Exception:
            return value

    # -- the annotations

    @cached_property
    def _annotations(self) -> Mapping[str, Any]:
        function = inspect.unwrap(self._function)
        names = getattr(function, "__globals__", {})
        return {name: _resolved(name, raw, names) for name, raw in inspect.get_annotations(function).items()}

    def _model(self, name: str, value: Any) -> type[Any] | None:
        """Return the model with which the argument ``name`` is validated."""
        annotation = self._annotations.get(name)
        if value is not None:
            annotation = _without_none(annotation)
        return annotation if inspect.isclass(annotation) and issubclass(annotation, self._base) else None

    def _validated(self, model: type[Any], value: Any) -> Any:
        return model.model_validate(value, strict=self._strict, context=self._context)

    def _validated_without_input(self, model: type[Any], value: Any) -> Any:
        """Do ``_validated``; the text of the error has no part of ``value``."""
        try:
            return self._validated(model, value)
        except import_module("pydantic").ValidationError as error:
            errors = error.errors(include_url=False)
            raise type(error).from_exception_data(error.title, errors, hide_input=True) from None


def _resolved(name: str, raw: Any, names: dict[str, Any]) -> Any:
    """Return the type of an annotation, which may be text. It stays text if a name in it is for type checkers only."""
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={name: raw}), names)[name]
    except Exception:
        return raw


def _without_none(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``, and any other annotation as it is."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(others) == 1:
            return others[0]
    return annotation
