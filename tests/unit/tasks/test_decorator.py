from __future__ import annotations

import pickle
import sys
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from django.apps import AppConfig, apps
from django.test import override_settings
from kombu import Exchange, Queue

import taskq
from taskq import Task, register, shared_task, task
from taskq.calls import registry as registry_module
from taskq.calls.registry import Registry, name_of
from taskq.exceptions import NotRegistered
from taskq.records import Envelope
from taskq.tasks import validation


@task
def plain(x: int, y: int = 1) -> int:
    """Add."""
    return x + y


def test_with_and_without_arguments(registry: Registry) -> None:
    @task(name="shop.mail", queue="mail")
    def mail() -> None: ...

    @shared_task()
    def other() -> None: ...

    assert mail.name == "shop.mail"
    assert mail.queue == "mail"
    assert registry["shop.mail"] is mail
    assert other.name == f"{__name__}.test_with_and_without_arguments.<locals>.other"


def test_a_task_looks_like_its_function() -> None:
    assert plain.name == f"{__name__}.plain"
    assert plain.__doc__ == "Add."
    assert plain.__module__ == __name__
    assert plain.__wrapped__(1, 2) == 3  # type: ignore[attr-defined]
    assert repr(plain) == f"<@task: {__name__}.plain>"
    assert plain(2) == 3


def test_task_name_in_a_module_that_is_run_is_that_of_its_import(monkeypatch: pytest.MonkeyPatch) -> None:
    class Main:
        __spec__ = type("Spec", (), {"name": "shop.tasks"})

    assert name_of("shop", "f") == "shop.f"
    monkeypatch.setitem(sys.modules, "__main__", Main)
    assert name_of("__main__", "f") == "shop.tasks.f"
    Main.__spec__ = None  # type: ignore[assignment]
    assert name_of("__main__", "f") == "__main__.f"


def test_bind_passes_the_task_as_self() -> None:
    @task(bind=True)
    def who(self: Any, x: int) -> tuple[Any, int]:
        return self, x

    assert who(1) == (who, 1)
    assert who.positions == {"x": 0}


def test_options_follow_settings_until_they_are_given() -> None:
    @task(acks_late=None, max_retries=None)
    def loose() -> None: ...

    @task(acks_late=False, typing=True)
    def strict() -> None: ...

    assert loose.acks_late is True
    assert loose.max_retries is None
    assert plain.max_retries == 3
    assert plain.default_retry_delay == 180
    assert strict.acks_late is False
    assert strict.typing is True
    with override_settings(TASKQ_ACKS_LATE=False, TASKQ_MAX_RETRIES=7, TASKQ_TYPING=True):
        assert loose.acks_late is False
        assert loose.max_retries is None
        assert plain.max_retries == 7
        assert plain.typing is True


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match=r"@task of .* has no option 'max_retrys': did you mean 'max_retries'\?"):

        @task(max_retrys=3)  # type: ignore[call-overload, untyped-decorator]
        def f() -> None: ...

    with pytest.raises(TypeError, match="options are given by name"):
        task(3)  # type: ignore[call-overload]


def test_invalid_rate_limit_is_refused_where_it_is_defined() -> None:
    with pytest.raises(ValueError, match="rate_limit must be a number of starts per second, or text such as '10/s'"):

        @task(rate_limit="10/day")
        def daily() -> None: ...

    with pytest.raises(TypeError, match="rate_limit must be"):
        register(type("Limited", (Task,), {"run": lambda self: None, "rate_limit": True}))


class WithDatabase(Task[..., Any]):
    abstract = True
    alias = "default"

    def on_success(self, *args: Any) -> None: ...


def test_base_class_attributes_are_options_of_the_decorator(registry: Registry) -> None:
    @task(base=WithDatabase, alias="other")  # type: ignore[call-overload, untyped-decorator]
    def f() -> None: ...

    assert isinstance(f, WithDatabase)
    assert f.alias == "other"
    with pytest.raises(TypeError, match="no option 'aliass': did you mean 'alias'"):
        task(base=WithDatabase, aliass="x")(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="no option 'delay'"):
        task(delay=3)(lambda: None)  # type: ignore[call-overload]


def test_task_has_the_names_and_the_annotations_of_its_function() -> None:
    @task
    def outer(x: int, y: str = "") -> bytes:
        return b""

    @task(bind=True, name="other")
    def bound(self: Any, x: int) -> bool:
        return True

    class Resize(Task[[float], None]):
        def run(self, width: float) -> None: ...

    for made, function in ((outer, outer.__wrapped__), (bound, bound.__wrapped__)):  # type: ignore[attr-defined]
        for name in ("__name__", "__qualname__", "__annotations__", "__module__", "__doc__"):
            assert getattr(made, name) == getattr(function, name), name
    assert get_type_hints(outer) == {"x": int, "y": str, "return": bytes}
    resize = register(Resize)
    assert (resize.__name__, resize.__qualname__) == ("Resize", Resize.__qualname__)
    assert resize.__annotations__ == Resize.run.__annotations__


def test_task_of_an_object_has_the_names_of_its_class() -> None:
    made = task(name="partial")(partial(int, base=2))
    assert (made.__name__, made.__annotations__) == ("partial", {})


def test_a_soft_limit_above_the_hard_one_is_defined_but_not_sent() -> None:
    made = task(time_limit=5, soft_time_limit=10)(lambda: None)
    for call in (made.delay, made.apply, made.s().delay, made.delay_on_commit):
        with pytest.raises(ValueError, match="must be less than or equal to time_limit: 10 s is above 5 s"):
            call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("option", "wrong", "error"),
    [
        ("time_limit", "5", TypeError),
        ("time_limit", -1, ValueError),
        ("soft_time_limit", float("inf"), ValueError),
        ("soft_time_limit", 3e9, ValueError),
        ("max_deliveries", "x", TypeError),
        ("max_deliveries", 0, ValueError),
        ("max_retries", "3", TypeError),
        ("default_retry_delay", "x", TypeError),
        ("default_retry_delay", float("inf"), ValueError),
        ("retry_backoff", "x", TypeError),
        ("retry_backoff_max", None, TypeError),
        ("retry_kwargs", [3], TypeError),
        ("retry_kwargs", {"max_retry": 3}, ValueError),
        ("retry_kwargs", {"max_retries": "3"}, TypeError),
        ("priority", 99, ValueError),
        ("queue", 5, TypeError),
        ("queue", "q" * 256, ValueError),
        ("exchange", 5, TypeError),
        ("expires", "soon", ValueError),
        ("expires", float("inf"), ValueError),
        ("serializer", 5, TypeError),
        ("compression", "", ValueError),
        ("acks_late", "no", TypeError),
        ("trail", 1, TypeError),
        ("name", 5, TypeError),
        ("name", "n" * 300, ValueError),
        ("throws", "ValueError", TypeError),
        ("autoretry_for", (ValueError, "OSError"), TypeError),
        ("dont_autoretry_for", int, TypeError),
        ("sensitive", "password", TypeError),
        ("on_success", "f", TypeError),
    ],
)
def test_invalid_option_values_are_refused_where_the_task_is_defined(
    registry: Registry, option: str, wrong: Any, error: type[Exception]
) -> None:
    def f(password: str = "") -> None: ...

    before = set(registry)
    with pytest.raises(error, match=rf"{option} must be .+, not "):
        task(**{option: wrong})(f)  # type: ignore[call-overload]
    classed = type("Classed", (Task,), {"run": lambda self: None, option: wrong})
    with pytest.raises(error, match=rf"{option} must be .+, not "):
        register(classed)
    assert set(registry) == before


def test_valid_option_values_are_accepted(registry: Registry) -> None:
    queue = Queue("images", Exchange("images"))

    class Base(Task[..., Any]):
        abstract = True
        queue = property(lambda self: 5)  # what is worked out later can't be known yet

    @task(
        base=Base, time_limit=0, soft_time_limit=2**31 - 1, max_retries=None, priority=9, exchange="", routing_key="",
        expires=timedelta(days=1), retry_backoff=2.5, retry_kwargs={"max_retries": None, "countdown": 3},
        sensitive=["password"], compression=None, default_retry_delay=timedelta(minutes=1),
    )  # fmt: skip
    def f(password: str) -> None: ...

    assert (f.sensitive, f.default_retry_delay) == (("password",), 60)
    assert task(queue=queue, expires="2040-01-01T00:00:00Z")(lambda: None).queue is queue


def test_exception_options_take_one_class_or_several() -> None:
    for name in ("throws", "autoretry_for", "dont_autoretry_for"):
        for given in (ValueError, (ValueError,), [ValueError]):
            assert getattr(task(**{name: given})(lambda: None), name) == (ValueError,)  # type: ignore[call-overload]


def test_every_option_has_a_kind_and_is_in_the_reference() -> None:
    page = (Path(taskq.__file__).parent.parent / "docs/reference/task-options.md").read_text()
    assert [option for option in sorted({"bind", "base", *validation.OPTIONS}) if f"`{option}`" not in page] == []


@pytest.mark.parametrize("base", [object, 5, plain, "Task"])
def test_base_that_is_no_task_class_is_refused(base: Any) -> None:
    with pytest.raises(TypeError, match=r"@task of .*f: base must be a subclass of taskq.Task, not "):

        @task(base=base)
        def f() -> None: ...


def test_sensitive_that_names_no_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="has no parameter 'pasword'"):
        task(sensitive=("pasword",))(lambda user, password: None)


def test_class_based_tasks_are_registered_and_callable(registry: Registry) -> None:
    class Resize(Task[[int, int], int]):
        queue = "images"

        def run(self, width: int, height: int) -> int:
            return width * height

    class Named(Resize):
        name = "shop.named"

    resize = register(Resize)
    assert resize.name.endswith("Resize")
    assert registry[resize.name] is resize
    assert resize(2, 3) == 6
    named = register(Named())
    assert registry["shop.named"] is named
    assert named.queue == "images"


def test_abstract_class_and_class_without_run_are_not_registered() -> None:
    class NoRun(Task[[], None]):
        pass

    for wrong in (NoRun, WithDatabase, Task):
        with pytest.raises(TypeError, match="abstract, or has no run"):
            register(wrong)


def test_callable_objects_and_partials_can_be_tasks() -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

    adder = task(name="adder")(Adder())
    assert adder(1) == 2
    added = task(name="partial")(partial(Adder(), 2))
    assert added() == 3


def test_callable_without_a_signature_can_be_a_task(sent: list[Envelope]) -> None:
    updated: dict[str, int] = {}
    note: Task[..., Any] = task(name="note")(updated.update)
    note.delay(a=1)
    assert note.positions == {}
    assert sent[0].body.startswith('[[], {"a": 1}')  # type: ignore[arg-type]


def test_class_with_its_own_init_is_registered_as_an_instance() -> None:
    class Own(Task[[], int]):
        def __init__(self, value: int) -> None:
            self.value = value

        def run(self) -> int:
            return self.value

    own = register(Own(3))
    assert own.apply().get() == 3
    assert own.name.endswith("Own")


def test_duplicates_list_names_with_two_definitions(registry: Registry) -> None:
    def first() -> None: ...

    def second() -> None: ...

    task(name="twice")(first)
    again = task(name="twice")(first)
    assert "twice" not in registry.duplicates()
    assert registry["twice"] is again
    task(name="twice")(second)
    assert [origin.rpartition(".")[2] for origin in registry.duplicates()["twice"]] == ["first", "second"]


def test_unknown_task_name_raises_not_registered() -> None:
    with pytest.raises(NotRegistered, match="no_such"):
        registry_module.tasks["no_such"]
    assert registry_module.tasks.get("no_such") is None
    assert "no_such" not in registry_module.tasks


def test_autodiscover_does_not_hide_import_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_app"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = AppConfig("broken_app", import_module("broken_app"))
    monkeypatch.setattr(apps, "get_app_configs", lambda: [broken])
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        registry_module.autodiscover()


def test_a_task_pickles_by_name() -> None:
    assert pickle.loads(pickle.dumps(plain)) is plain


def test_public_names_of_the_package_can_be_imported() -> None:
    for name in taskq.__all__:
        assert getattr(taskq, name) is not None
    assert set(taskq.__all__) <= set(dir(taskq))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        taskq.nothing  # noqa: B018
