"""What is shown of a call's arguments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import task
from taskq.calls import masking
from taskq.calls.registry import tasks
from taskq.messages.reprs import MASK

#: For short tables.
M = MASK


@pytest.fixture(autouse=True)
def login() -> None:
    @task(name="login", sensitive=("password",))
    def login(user: Any, password: Any, port: int = 1, *, host: str = "") -> None: ...

    @task(name="vault", sensitive=("key",))
    def vault(user: Any, *keys: Any, key: Any = None, **others: Any) -> None: ...

    @task(name="plain")
    def plain(*args: Any, **kwargs: Any) -> None: ...


def sig(name: str, *args: Any, immutable: bool = True, **kwargs: Any) -> dict[str, Any]:
    return {"task": name, "args": list(args), "kwargs": kwargs, "options": {}, "immutable": immutable}


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shown"),
    [
        ("login", ("ann", "x", 2), {"host": "h"}, (["ann", M, 2], {"host": "h"})),
        (
            "login",
            ("ann", "x", 2, 3),
            {"pasword": "x", "password": 1},
            (["ann", M, 2, M], {"pasword": M, "password": M}),
        ),
        ("vault", ("ann", "x"), {"key": 1, "more": 2}, (["ann", M], {"key": M, "more": M})),
        ("plain", (sig("login", "ann", "x"), 1), {}, ((sig("login", "ann", M), 1), {})),
        ("plain", (sig("login", "x", 2, immutable=False),), {}, ((sig("login", M, M, immutable=False),), {})),
        (
            "plain",
            [],
            {"a": [{"b": sig("login", password="x", user=1)}]},
            ([], {"a": [{"b": sig("login", password=M, user=1)}]}),
        ),
        ("celery.starmap", ([sig("login"), [("ann", "x"), "yz"]]), {}, ([sig("login"), [["ann", M], M]], {})),
        ("celery.map", (), {"task": sig("login", "x"), "it": ["ann"]}, ([], {"task": sig("login", M), "it": ["ann"]})),
        (
            "plain",
            [{"task": "login", "id": "1", "argsrepr": "('x',)"}],
            {},
            ([{"task": "login", "id": "1", "argsrepr": M}], {}),
        ),
        ("plain", [{"task": "login", "args": "x", "y": "x"}], {}, ([{"task": "login", "args": M, "y": M}], {})),
    ],
)
def test_only_named_parameters_that_are_not_sensitive_are_shown(name: str, args: Any, kwargs: Any, shown: Any) -> None:
    found = masking.shown(name, args, kwargs)
    assert found is not None
    assert (list(found[0]), found[1]) == (list(shown[0]), shown[1])
    # What is masked once may be masked again.
    again = masking.shown(name, *found)
    assert again is None or (list(again[0]), again[1]) == (list(found[0]), found[1])


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("plain", (1, "x", [2], {"task": "login"}, {"task": ["login"]}), {"login": {"a": 1}}),
        ("celery.map", (), {"task": sig("plain", 1), "it": [1, [2]]}),
        ("unknown", (1, [2]), {}),
    ],
)
def test_nothing_is_shown_anew_if_nothing_is_sensitive(name: str, args: Any, kwargs: Any) -> None:
    found = masking.shown(name, args, kwargs)
    assert found is None or (list(found[0]), found[1]) == (list(args), kwargs)


NAMES = st.sampled_from(["login", "celery.map"])
DATA = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.sampled_from(["task", "args", "kwargs", "it", "x"]), inner, max_size=3)
        | st.builds(
            lambda name, value: {"task": name, "args": [value]}, st.sampled_from(["login", "celery.map"]), inner
        )
    ),
    max_leaves=12,
)
CALLS = st.sampled_from([sig("login", "ann", "hunter2"), sig("login", password="hunter2"), sig("vault", 1, "hunter2"),
                         sig("celery.starmap", task=sig("login"), it=[["ann", "hunter2"]])])  # fmt: skip


@given(name=st.sampled_from(["plain", "login", "celery.starmap", "unknown"]), data=DATA, call=CALLS)
def test_no_data_breaks_it_and_signatures_are_found_in_all(name: str, data: Any, call: Any) -> None:
    found = masking.shown(name, [data, {"a": [data, call]}], {"b": call, "c": data})
    assert found is not None
    assert "hunter2" not in repr(found)


def test_arguments_too_deep_to_be_looked_through_are_masked() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep, {}]
    assert masking.shown("plain", (deep, 1), {"x": 2}) == ([MASK, MASK], {"x": MASK})


def test_registry_knows_which_tasks_are_guarded() -> None:
    assert {"login", "vault"} <= tasks.guarded
    task(name="login")(lambda user: None)
    tasks.remove("vault")
    assert not {"login", "vault"} & tasks.guarded


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("plain", "(1, 'x')", "(1, 'x')"),
        ("plain", "({'task': 'login', 'args': ['ann', 'x']},)", M),
        ("login", "('ann', 'x')", M),
        ("celery.map", "{'it': ['x'], 'task': …", M),
        ("celery.starmap", "(1,)", M),
    ],
)
def test_a_sender_is_not_believed_where_something_sensitive_may_be(name: str, text: str, seen: str) -> None:
    assert masking.trusted_reprs(name, text, "{}") == (seen, M if name != "plain" else "{}")


def test_every_sender_is_believed_if_nothing_is_sensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "guarded", set())
    assert masking.trusted_reprs("celery.map", "(1,)", "") == ("(1,)", "")
