from __future__ import annotations

import asyncio
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from taskq import exceptions
from taskq.messages.exception_data import LONGEST_ARGUMENT, cut_for_many, decode_exception, encode_exception, repr_of


class Weird(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Ref(Exception):
    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b


class Outer:
    class Inner(ValueError):
        pass

    class NotAnError:
        pass


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class NoArguments(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


def again(exc: BaseException) -> BaseException:
    return decode_exception(encode_exception(exc))


def test_encoded_exception_has_celerys_layout() -> None:
    assert json.loads(encode_exception(ValueError("boom", 3))) == {
        "exc_type": "ValueError",
        "exc_message": ["boom", 3],
        "exc_module": "builtins",
    }


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("boom", 3),
        KeyError("orig"),
        Outer.Inner("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        OSError(2, "No such file"),
        exceptions.EncodeError("x"),
        exceptions.TimeLimitExceeded(1),
        exceptions.Reject("no", False),
        Ref(1, 2),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_decoded_exception_has_its_class_and_args(exc: BaseException) -> None:
    rebuilt = again(exc)
    assert type(rebuilt) is type(exc)
    assert rebuilt.args == exc.args


@pytest.mark.parametrize(
    ("cls", "module"),
    [
        (exceptions.TaskRevokedError, "celery.exceptions"),
        (exceptions.MaxRetriesExceededError, "celery.exceptions"),
        (exceptions.NotRegistered, "celery.exceptions"),
        (exceptions.WorkerLostError, "billiard.exceptions"),
        (exceptions.SoftTimeLimitExceeded, "billiard.exceptions"),
        (exceptions.EncodeError, "kombu.exceptions"),
    ],
)
def test_our_classes_have_celerys_names_on_the_wire(cls: type[BaseException], module: str) -> None:
    data = json.loads(encode_exception(cls("x")))
    assert data["exc_module"] == module
    assert type(decode_exception(json.dumps(data))) is cls


@pytest.mark.parametrize("exc", [KeyboardInterrupt(), SystemExit(3), GeneratorExit("x"), asyncio.CancelledError()])
def test_exit_and_cancel_exceptions_are_decoded_as_taskq_error(exc: BaseException) -> None:
    rebuilt = again(exc)
    assert type(rebuilt) is exceptions.TaskqError
    shown = ", ".join(map(repr, exc.args))
    assert str(rebuilt) == f"The task raised {type(exc).__name__}({shown})."


def test_exception_whose_constructor_wants_other_arguments_has_a_stand_in() -> None:
    rebuilt = again(Weird(1, 2))
    assert type(rebuilt) is Exception
    assert str(rebuilt) == f"{Weird}(['1 and 2'])"


def test_django_validation_error_keeps_its_messages() -> None:
    rebuilt = again(ValidationError("bad %(n)s", code="c", params={"n": 1}))
    assert isinstance(rebuilt, ValidationError)
    assert rebuilt.messages == ["bad 1"]


@pytest.mark.parametrize("argument", [{1}, object(), lambda: None, sys.stdout, ValueError("inner")])
def test_exception_arguments_that_do_not_serialise_become_their_repr(argument: Any) -> None:
    assert again(ValueError(argument, 1)).args == (repr(argument), 1)


def test_exception_argument_whose_repr_raises_is_named_by_class() -> None:
    assert "Silent" in again(ValueError(Silent())).args[0]


def test_exception_whose_args_raise_is_encoded() -> None:
    assert type(again(NoArguments())) is NoArguments


def test_huge_exception_arguments_are_cut() -> None:
    text = encode_exception(ValueError("x" * 10_000_000, ["y" * 10_000_000], *range(1000)))
    assert len(text) < 3 * LONGEST_ARGUMENT


def test_decoding_imports_no_module() -> None:
    name = "this"
    sys.modules.pop(name, None)
    rebuilt = decode_exception(json.dumps({"exc_type": "Boom", "exc_message": [], "exc_module": name}))
    assert name not in sys.modules
    assert type(rebuilt).__name__ == "Boom"
    assert type(rebuilt).__module__ == name
    assert isinstance(rebuilt, Exception)


def test_unknown_exception_class_has_one_stand_in_class() -> None:
    text = json.dumps({"exc_type": "Gone", "exc_message": ["a"], "exc_module": "no.such"})
    assert type(decode_exception(text)) is type(decode_exception(text))
    assert decode_exception(text).args == ("a",)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "object"),
        ("subprocess", "Popen"),
        (__name__, "Outer.NotAnError"),
        (__name__, "Outer.Inner.__init__"),
        (__name__, "sys.exit"),
        (__name__, ""),
    ],
)
def test_decoding_never_calls_a_name_of_no_exception(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.system", lambda *args: pytest.fail("called"))
    rebuilt = decode_exception(json.dumps({"exc_type": name, "exc_message": ["exit 1"], "exc_module": module}))
    assert isinstance(rebuilt, Exception)
    assert rebuilt.args == ("exit 1",)


def test_decoding_runs_no_module_getattr(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lazy_module")
    module.__getattr__ = lambda name: pytest.fail("run")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    decode_exception(json.dumps({"exc_type": "X", "exc_message": [], "exc_module": "lazy_module"}))


def test_exception_message_that_is_a_string_is_the_only_argument() -> None:
    rebuilt = decode_exception('{"exc_type": "ValueError", "exc_message": "boom", "exc_module": "builtins"}')
    assert isinstance(rebuilt, ValueError)
    assert rebuilt.args == ("boom",)


def test_exception_without_a_module_has_a_stand_in() -> None:
    rebuilt = decode_exception('{"exc_type": "Odd", "exc_message": ["x"]}')
    assert type(rebuilt).__name__ == "Odd"


@pytest.mark.parametrize("text", [None, "", "no json", "[1]", '{"a": 1}', '{"exc_type": 1}', "[" * 100_000])
def test_text_that_is_no_exception_is_decoded_as_exception(text: str | None) -> None:
    assert type(decode_exception(text)) is Exception


@given(st.text(), st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_decoding_an_exception_never_fails(kind: str, module: str, message: Any) -> None:
    text = json.dumps({"exc_type": kind, "exc_message": message, "exc_module": module})
    assert isinstance(decode_exception(text), BaseException)


#: As a pool's thread may write it: the stack of the thread that reads it may be deeper.
DEEP = f'{{"exc_type": "KeyError", "exc_message": [{"[" * 100_000}{"]" * 100_000}], "exc_module": "builtins"}}'


def test_an_exception_that_many_tasks_get_is_cut_argument_by_argument() -> None:
    error = OSError(2, "no such file " * 1_000)
    text = encode_exception(error)
    assert cut_for_many(text) == cut_for_many(text, 1_000) != cut_for_many(text, 1) == text
    built = decode_exception(cut_for_many(text))
    assert isinstance(built, FileNotFoundError)
    assert built.errno == 2
    assert (built.strerror or "").startswith("no such file no")
    assert len(cut_for_many(text)) < 2_000
    assert cut_for_many(short := encode_exception(KeyError("x"))) == short


@pytest.mark.parametrize("text", [DEEP, "x" * 5_000, '"x"' + " " * 5_000, '{"exc_type": []}' + " " * 5_000])
def test_data_that_can_not_be_read_is_cut_to_an_exception(text: str) -> None:
    built = decode_exception(cut_for_many(text))
    assert type(built) is Exception
    assert text[:100] in str(built)
    assert repr_of(text) == text


@given(st.text(max_size=5_000), st.recursive(st.none() | st.text(max_size=3_000) | st.integers(), st.lists))
def test_what_many_tasks_get_is_an_exception_and_short(kind: str, message: Any) -> None:
    text = json.dumps({"exc_type": kind, "exc_message": message, "exc_module": "builtins"})
    assert len(cut_for_many(text)) < 40_000
    assert isinstance(decode_exception(cut_for_many(text)), BaseException)
    assert set(json.loads(cut_for_many(text))) == {"exc_type", "exc_message", "exc_module"}


@pytest.mark.parametrize("message", [None, 7, "no"])
def test_a_message_that_is_no_list_is_one_argument(message: Any) -> None:
    text = json.dumps({"exc_type": "KeyError", "exc_message": message, "exc_module": "builtins"})
    assert repr_of(text) == f"KeyError({message!r})"
