"""Canvases that are run here: the values that Celery gives, but for those that it gets wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from taskq import chain, chord, group, states, task
from taskq.exceptions import ChordError
from taskq.models import TaskRun
from taskq.records import Envelope
from taskq.results.eager import EagerResult
from taskq.results.group_result import GroupResult
from tests.unit.canvas.jobs import S, add, call, fail, ident, tsum

one, two, three = add.s(1, 1), add.s(2, 2), add.s(3, 3)

VALUES = [
    (add.s(1, 1) | add.s(2) | add.s(3), 7),
    (chain(add.s(4, 4) | add.s(8)), 16),
    (group(add.s(i, i) for i in range(3)), [0, 2, 4]),
    (group(), []),
    (group(one, group(two, three)), [2, 4, 6]),
    (ident.s(1) | group(add.s(2), group(add.s(3), add.s(4))), [3, 4, 5]),
    (chord([one, two], S), 6),
    (chord([], S), 0),
    (group([]) | S, 0),
    (chord([add.s(4, 4)], S), 8),
    (chord([add.s(1, 1) | add.s(2), three], S), 10),
    (chord([chord([one, two], S), three], S), 12),
    (chord([group(one, two), three], ident.s()), [2, 4, 6]),
    (chord([one, two], S | add.s(10)), 16),
    (chord([one, two], group(S, ident.s())), [6, [2, 4]]),
    (group(one, two) | group(S, ident.s()), [6, [2, 4]]),
    (group(one, two) | S | group(add.s(1), add.s(2)) | S, 15),
    (group(one) | ident.s(), [2]),
    (ident.s(1) | group(add.s(1)), 2),
    (add.s(1, 1) | add.si(5, 5), 10),
    (chord([ident.s(42) | group(ident.s(), ident.s())], ident.s()), [[42, 42]]),
    (group(ident.s(1) | group(ident.s(), ident.s()), one), [[1, 1], 2]),
    (ident.map([1, 2, 3]), [1, 2, 3]),
    (add.starmap([(1, 1), (2, 2)]), [2, 4]),
    (add.chunks(zip(range(6), range(6), strict=True), 2), [[0, 2], [4, 6], [8, 10]]),
    (add.chunks([(1, 1), (2, 2), (3, 3)], 2), [[2, 4], [6]]),
    (add.chunks([(1, 1), (2, 2), (3, 3)], 2) | ident.s(), [[2, 4], [6]]),
    (ident.s(1) | add.chunks([(1, 1)], 1), [2]),
    (ident.s(1) | group(add.chunks([(1, 1)], 1)), [2]),
    (ident.s(1) | group() | S, 0),
    (chord((ident.s(i) for i in range(30)), ident.s()), list(range(30))),
    # Arguments of a canvas stay its own, whatever it becomes a part of.
    (chain(add.s(1), add.s(2)).clone((4,)) | add.s(10), 17),
    (chain(ident.si(0), chain(call.s(1), ident.s()).clone((4,))), [[0, 4, 1], {}]),
    (group(group(add.s(1), add.s(2)).clone((4,)), one), [5, 6, 2]),
    (chord([group(add.s(1), add.s(2)).clone((4,))], S), 11),
    (ident.s(0) | group(group(call.s(1)).clone((4,)), call.s(2)) | ident.s(), [[[0, 4, 1], {}], [[0, 2], {}]]),
    # And so does whether it takes any.
    (ident.s(0) | group(call.s(1), call.s(2)).set(immutable=True), [[[1], {}], [[2], {}]]),
    (ident.s(0) | group(call.s(1), call.s(2)).set(immutable=True) | ident.s(), [[[1], {}], [[2], {}]]),
    (ident.s(0) | chain(call.s(1), ident.s()).set(immutable=True), [[1], {}]),
    (group(group(call.s(1)).set(immutable=True), call.s(2)).clone((0,)), [[[1], {}], [[0, 2], {}]]),
]


@pytest.mark.parametrize(("sig", "value"), VALUES, ids=[repr(sig)[:60] for sig, _ in VALUES])
def test_eager_canvases_give_celerys_values_and_send_nothing(sig: Any, value: Any, sent: list[Envelope]) -> None:
    assert sig.apply().get() == value
    with override_settings(TASKQ_ALWAYS_EAGER=True):
        assert (~sig) == value
    assert sent == []


def test_eager_nine_chords_in_a_row() -> None:
    sig: Any = group(ident.s(1), ident.s(1))
    for _ in range(9):
        sig = sig | tsum.s() | group(ident.s(), ident.s())
    assert (sig | S).apply().get() == 2**10


def test_eager_chain_of_a_thousand_links() -> None:
    assert chain(add.s(1) for _ in range(1000)).apply((0,)).get() == 1000


def test_eager_groups_nested_fifty_deep_are_flattened() -> None:
    sig: Any = ident.s(0)
    for i in range(1, 51):
        sig = group(sig, ident.s(i))
    assert sig.apply().get() == list(range(51))


def test_aapply_runs_a_chain_in_a_coroutine() -> None:
    from asgiref.sync import async_to_sync

    assert async_to_sync((add.s(1) | add.s(2)).aapply)((3,)).get() == 6


def test_empty_chain_gives_none() -> None:
    assert chain()() is None
    with override_settings(TASKQ_ALWAYS_EAGER=True):
        assert chain()() is None
        assert chain().delay() is None


def test_examples_of_the_guide_run_eagerly() -> None:
    with override_settings(TASKQ_ALWAYS_EAGER=True):
        assert group(add.s(i, i) for i in range(10))().get() == [i * 2 for i in range(10)]
        assert group(add.s(i) for i in range(10))(10).get() == [10 + i for i in range(10)]
        assert chain(add.s(4) | add.s(8))(4).get() == 16
        assert chord(add.s(i, i) for i in range(10))(tsum.s()).get() == 90
        assert chord((add.s(i, i) for i in range(10)), tsum.s())().get() == 90
        assert add.chunks([(1, 1)], 1)().get() == [[2]]
        assert add.s(2).delay(8).get() == 10
    assert ident.map([1])() == [1]


# -- results ------------------------------------------------------------------------------------


def test_eager_result_has_header_and_parents() -> None:
    result = (add.s(1, 1) | group(add.s(1), add.s(2)) | S).apply()
    assert (result.get(), type(result)) == (7, EagerResult)
    header: Any = result.parent
    assert (type(header), header.get()) == (GroupResult, [3, 4])
    assert header.parent.get() == 2
    first = header.parent
    assert [child.id for child in first.children] == [result.id]


def test_callbacks_of_a_task_run_and_are_children() -> None:
    result = add.apply((1, 1), link=[add.s(5), ident.s() | add.s(1)])
    first, second = result.children or []
    assert (result.get(), first.get(), second.get()) == (2, 7, 3)


def test_the_same_frozen_signature_twice_is_refused() -> None:
    frozen = add.si(1, 1)
    frozen.freeze()
    with pytest.raises(ValueError, match="stands in two places"):
        chord([frozen, frozen], S).apply()
    with pytest.raises(ValueError, match="stands in two places"):
        (frozen | frozen).apply()


def test_eager_result_has_the_frozen_or_given_id() -> None:
    sig = add.s(1, 1) | add.s(2)
    frozen = sig.freeze()
    assert sig.apply().id == frozen.id
    assert (add.s(1, 1) | add.s(2)).apply(task_id="mine").id == "mine"


# -- failures: A4, A5, A10 to A14 ------------------------------------------------------------------


def test_failed_link_fails_the_rest_of_the_chain() -> None:
    result = (add.s(1, 1) | fail.s() | add.s(2)).apply()
    before: Any = result.parent
    assert [result.state, before.state, before.parent.state] == ["FAILURE", "FAILURE", "SUCCESS"]
    with pytest.raises(ValueError, match="boom"):
        result.get()


def test_failed_member_fails_the_body_with_chord_error() -> None:
    result = chord([one, fail.s()], S | add.s(1)).apply()
    header: Any = result.parent
    while not isinstance(header, GroupResult):
        header = header.parent
    bad = header.results[1]
    assert [each.state for each in header.results] == ["SUCCESS", "FAILURE"]
    with pytest.raises(ChordError, match=rf"Dependency {bad.id} raised ValueError\('boom'\)"):
        result.get(follow_parents=False)
    with pytest.raises(ValueError, match="boom"):
        result.get()


@pytest.mark.parametrize(
    "header",
    [
        [fail.s() | add.s(1), one],
        [one | fail.s() | add.s(1), one],
        [chord([fail.s(), one], S), one],
        [one | group(fail.s(), add.s(1)), one],
        [fail.s(), fail.s()],
    ],
    ids=repr,
)
def test_failure_at_any_depth_of_a_header_fails_the_body_with_chord_error(header: Any) -> None:
    result = chord(header, S).apply()
    assert isinstance(result.result, ChordError)


def test_throw_and_eager_propagates_raise_the_tasks_exception() -> None:
    with pytest.raises(ValueError, match="boom"):
        (add.s(1, 1) | fail.s() | add.s(2)).apply(throw=True)
    with (
        override_settings(TASKQ_ALWAYS_EAGER=True, TASKQ_EAGER_PROPAGATES=True),
        pytest.raises(ValueError, match="boom"),
    ):
        chord([one, fail.s()], S).delay()


@pytest.fixture
def noted() -> list[Any]:
    return []


@pytest.fixture
def errback(noted: list[Any]) -> Any:
    @task(name="errback")
    def errback(request: Any, exc: BaseException, traceback: Any) -> None:
        noted.append((request.id, type(exc).__name__))

    return errback.s()


def test_errbacks_are_called_once(noted: list[Any], errback: Any) -> None:
    result = (add.s(1, 1) | fail.s() | add.s(1)).on_error(errback).apply()
    assert noted == [(result.parent.id, "ValueError")]  # type: ignore[union-attr]
    noted.clear()
    result = chord([fail.s(), fail.s()], S.clone().on_error(errback)).apply()
    assert noted == [(result.id, "ChordError")]
    noted.clear()
    group_result: Any = (
        (add.s(1, 1) | group(fail.s(), fail.s()) | group(ident.s(), ident.s())).on_error(errback).apply()
    )
    assert noted == [(member.id, "ChordError") for member in group_result.results]
    noted.clear()
    result = chord([one], fail.s().on_error(errback)).apply()
    assert noted == [(result.id, "ValueError")]


def test_errbacks_are_called_before_an_exception_propagates(noted: list[Any], errback: Any) -> None:
    @task(name="old_errback")
    def old_errback(task_id: str) -> None:
        noted.append(task_id)

    for canvas in (
        fail.s().on_error(errback).on_error(old_errback.s()),
        one | fail.s().on_error(errback).on_error(old_errback.s()) | add.s(1),
    ):
        noted.clear()
        with pytest.raises(ValueError, match="boom"):
            canvas.apply(throw=True)
        assert len(noted) == 2
        assert noted[0] == (noted[1], "ValueError")
    noted.clear()
    with pytest.raises(ValueError, match="boom"):
        chord([fail.s(), one], S.clone().on_error(errback)).apply(throw=True)
    assert [kind for _, kind in noted] == ["ChordError"]


def test_exception_of_an_errback_does_not_propagate() -> None:
    @task(name="bad_errback")
    def bad_errback(request: Any, exc: BaseException, traceback: Any) -> None:
        raise KeyError("bad")

    with override_settings(TASKQ_ALWAYS_EAGER=True):
        result: Any = fail.s().on_error(bad_errback.s()).delay()
        assert repr(result.result) == "ValueError('boom')"
        with override_settings(TASKQ_EAGER_PROPAGATES=True), pytest.raises(ValueError, match="boom"):
            fail.s().on_error(bad_errback.s()).delay()


def test_errbacks_of_a_header_are_called_for_members_and_body_when_allowed(noted: list[Any], errback: Any) -> None:
    with override_settings(TASKQ_ALLOW_ERROR_CB_ON_CHORD_HEADER=True):
        chord([fail.s(), fail.s()], S.clone()).on_error(errback).apply()
    assert sorted(name for _, name in noted) == ["ChordError", "ValueError", "ValueError"]


# -- replace and add_to_chord: A24, A25 ------------------------------------------------------------------


def replacing(sig: Any) -> Any:
    @task(name="replacing", bind=True)
    def replacing(self: Any, *args: Any) -> Any:
        raise self.replace(sig)

    return replacing.s()


@pytest.mark.parametrize(
    ("sig", "value"),
    [
        (add.s(1, 1) | add.s(10), 12),
        (group(one, two), [2, 4]),
        (add.s(4, 4), 8),
        (chord([one, two], S), 6),
        (one | group(add.s(1), add.s(2)), [3, 4]),
    ],
    ids=repr,
)
def test_replacement_gives_its_value_in_place_of_the_task(sig: Any, value: Any) -> None:
    alone = replacing(sig).apply(task_id="mine")
    assert (alone.id, alone.get(), alone.state) == ("mine", value, states.SUCCESS)
    assert (one | replacing(sig) | ident.s()).apply().get() == value
    assert chord([replacing(sig), three], ident.s()).apply().get() == [value, 6]


def test_replacement_may_be_replaced_again() -> None:
    @task(name="again", bind=True)
    def again(self: Any, n: int) -> Any:
        if n:
            raise self.replace(again.s(n - 1))
        return self.request.replaced_task_nesting

    assert again.apply((5,)).get() == 5


def test_replace_in_a_direct_call_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="where a worker runs replacing"):
        replacing(one)()


def test_replacing_by_an_empty_chain_fails_the_task() -> None:
    assert "empty chain" in str(replacing(chain()).apply().result)


def test_add_to_chord_appends_members_and_fails_outside_of_a_chord() -> None:
    @task(name="adding", bind=True)
    def adding(self: Any, sig: Any) -> str:
        from taskq import signature

        self.add_to_chord(signature(sig))
        return "adder"

    result = chord([adding.s(add.s(1, 1)), adding.s(group(one, two)), three], ident.s()).apply()
    assert result.get() == ["adder", "adder", 6, 2, [2, 4]]
    assert isinstance(adding.apply((one,)).result, ValueError)


def test_retried_task_keeps_its_chain_and_chord() -> None:
    @task(name="third", bind=True, default_retry_delay=0)
    def third(self: Any, x: int) -> int:
        if self.request.retries < 2:
            raise self.retry()
        return x

    assert (one | third.s() | add.s(1)).apply().get() == 3
    assert chord([third.s(1), third.s(2)], S).apply().get() == 3


def test_arguments_of_a_chord_call_go_to_its_members() -> None:
    assert chord([call.s(1, k=1)], ident.s()).apply((0,), {"k": 2}).get() == [[[0, 1], {"k": 2}]]


@pytest.mark.django_db
def test_failure_of_a_success_whose_member_was_sent_before_is_raised_and_stored() -> None:
    @task(name="adding", bind=True)
    def adding(self: Any, sig: Any) -> None:
        self.add_to_chord(sig)

    frozen = add.s(1, 1)
    frozen.freeze()
    canvas = chord([adding.s(frozen), adding.s(frozen)], ident.s())
    with override_settings(TASKQ_STORE_EAGER_RESULT=True), pytest.raises(ValueError, match="one id is one task"):
        canvas.apply(throw=True)
    found = TaskRun.objects.filter(name="adding").order_by("state").values_list("state", flat=True)
    assert list(found) == [states.FAILURE, states.SUCCESS]
