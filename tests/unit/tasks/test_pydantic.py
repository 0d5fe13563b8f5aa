"""``@task(pydantic=True)``: models among the arguments, and as the value."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Optional

import pytest
from django.core.exceptions import ImproperlyConfigured

from taskq import chord, states, task
from taskq.exceptions import EncodeError
from taskq.records import Envelope
from taskq.testing import drain, override

from .fixtures import Worker

if TYPE_CHECKING:
    from nowhere import Unknown

pydantic = pytest.importorskip("pydantic")


class Pair(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    x: int
    y: int = 1


class Sum(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    total: int


def define(function: Any, **options: Any) -> Any:
    return task(name="typed", pydantic=True, **options)(function)


def add(data: Pair, scale: int = 1) -> Sum:
    assert type(data) is Pair
    return Sum(total=(data.x + data.y) * scale)


def value_of(outcome: Any) -> Any:
    assert outcome.state == states.SUCCESS, outcome.traceback
    return json.loads(outcome.result)


@pytest.mark.parametrize("data", [{"x": 2, "y": 3}, Pair(x=2, y=3)], ids=["data", "model"])
def test_function_gets_models_and_its_value_is_data(sent: list[Envelope], worker: Worker, data: Any) -> None:
    define(add).delay(data, scale=2)
    assert json.loads(sent[0].body)[:2] == [[{"x": 2, "y": 3}], {"scale": 2}]
    assert value_of(worker.run()) == {"total": 10}
    define(add).apply_async(kwargs={"data": data})
    assert value_of(worker.run()) == {"total": 5}
    assert define(add)(data) == {"total": 5}
    assert define(add).apply((data,)).get() == {"total": 5}


def test_canvas_passes_models_on_as_data(registry: object) -> None:
    def largest(sums: list[dict[str, int]]) -> Pair:
        return Pair(x=max(each["total"] for each in sums))

    def sums(data: Pair) -> Sum:
        return Sum(total=data.x + data.y)

    total, top = (task(name=function.__name__, pydantic=True)(function) for function in (sums, largest))
    for canvas, value in (
        (chord([total.s(Pair(x=1)), total.s({"x": 5})], top.s()), {"x": 6, "y": 1}),
        (chord([total.s(Pair(x=1)), total.s(Pair(x=2))], top.s()) | total.s(), {"total": 4}),
    ):
        with override("memory"):
            result = canvas.delay()
            drain()
            assert result.get() == value
        assert canvas.apply().get() == value


def test_wrong_data_is_a_failure_that_says_so(sent: list[Envelope], worker: Worker) -> None:
    define(add).delay({"x": "two"})
    outcome = worker.run()
    assert outcome.state == states.FAILURE
    assert "1 validation error for Pair" in (outcome.traceback or "")


def test_wrong_data_of_a_sensitive_argument_is_not_shown(sent: list[Envelope], worker: Worker) -> None:
    define(add, sensitive=("data",)).delay({"x": "two-marked"})
    outcome = worker.run()
    assert outcome.state == states.FAILURE
    assert "valid integer" in (outcome.traceback or "")
    assert "two-marked" not in f"{outcome}"


def test_optional_models_are_validated_and_none_is_none(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any, a: Pair | None, b: Optional[Pair] = None, *rest: Any, c: Pair | None = None) -> Sum | None:  # noqa: UP045
        return None if a is None else Sum(total=a.x + (c.x if c else 0))

    typed = define(run, bind=True)
    typed.delay(None)
    assert value_of(worker.run()) is None
    typed.delay(Pair(x=1), None, 3, c=Pair(x=5))
    assert value_of(worker.run()) == {"total": 6}


async def add_later(data: Pair) -> Sum:
    return Sum(total=data.x)


def test_coroutine_functions_get_models_too(sent: list[Envelope], worker: Worker) -> None:
    define(add_later).delay(Pair(x=4))
    assert value_of(worker.run()) == {"total": 4}


def test_options_of_validation_and_dump_are_used(sent: list[Envelope], worker: Worker) -> None:
    class Checked(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        x: int
        note: str | None = None

        @pydantic.model_validator(mode="after")
        def check(self, info: Any) -> Any:
            self.note = f"{info.context['celery_task_name']} {info.context['tenant']}"
            return self

    def run(data: Any) -> Any:
        return data

    run.__annotations__ = {"data": Checked, "return": Checked}
    typed = define(run, pydantic_strict=True, pydantic_context={"tenant": "a"}, pydantic_dump_kwargs={"exclude": {"x"}})
    typed.delay({"x": 1})
    assert value_of(worker.run()) == {"note": "typed a"}
    typed.delay({"x": "1"})
    assert worker.run().state == states.FAILURE


def test_annotation_for_type_checkers_does_not_spoil_the_others(sent: list[Envelope], worker: Worker) -> None:
    def run(data: Pair, other: Unknown) -> int:
        return data.x + other  # type: ignore[no-any-return]

    define(run).delay({"x": 1}, 2)
    assert value_of(worker.run()) == 3


def test_model_that_the_function_would_not_get_back_is_refused(sent: list[Envelope]) -> None:
    class Secret(Pair):
        z: int = pydantic.Field(default=0, exclude=True)

    def plain(data: Any) -> None: ...

    for typed, data in (
        (define(add), Secret(x=1, z=5)),
        (define(plain), Pair(x=1)),
        (task(name="not")(add), Pair(x=1)),
    ):
        with pytest.raises(EncodeError, match="argument 'data' of"):
            typed.delay(data)


def test_retry_and_delay_many_take_models(sent: list[Envelope], worker: Worker) -> None:
    def run(self: Any, data: Pair) -> Any:
        if self.request.retries:
            return data.x
        raise self.retry(args=(Pair(x=7),))

    typed = define(run, bind=True)
    typed.delay_many([(Pair(x=1),)])
    assert value_of(worker.run(worker.follow_up(worker.run()))) == 7


def test_decorator_needs_pydantic_and_true_or_false(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="pydantic must be True or False"):
        task(pydantic="yes")(add)  # type: ignore[call-overload]
    decorate = task(pydantic=True)
    assert decorate(add).dump_arguments
    assert decorate(add_later).dump_arguments
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'taskq-django\[pydantic\]'"):
        define(add)
