"""Canvases behave as Celery's: lineage, empty groups, the exceptions that ``get()`` raises, copies."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import AsyncResult, Task, chain, chord, group, task
from taskq.exceptions import ChordError
from taskq.results.eager import EagerResult
from taskq.results.group_result import GroupResult
from tests.support.jobs.flows import add, boom, total
from tests.support.jobs.heard import calls, given, hears, parent, stamped
from tests.support.stores import on_every_store

from .conftest import Run, ends, last

pytestmark = on_every_store

two, plus = add.s(1, 1), add.s(1)


def member_ids(result: Any) -> set[str]:
    while not isinstance(result, GroupResult):
        result = result.parent
    return {leaf.id for leaf in result.leaves()}


@pytest.mark.parametrize(
    "sig",
    [
        chord([two, two], parent.s()),
        two | group(plus, plus) | parent.s(),
        chord([two | plus, two], parent.s()),
        chord([two, two], parent.s() | hears.s()),
    ],
    ids=["chord", "in_a_chain", "chain_for_a_member", "chain_for_a_body"],
)
def test_parent_of_a_body_is_a_member(run: Run, sig: Any) -> None:
    result = run(sig)
    assert result.get() in member_ids(result)


def test_parent_of_a_body_behind_an_empty_header_is_the_task_before(run: Run) -> None:
    result = run(two | chord([], parent.s()))
    assert result.get() == result.parent.parent.id


@pytest.mark.parametrize(
    ("sig", "value"),
    [
        (two | group(plus, add.s(2)) | group(), [3, 4]),
        (chain(two, group(plus, add.s(2)), group()), [3, 4]),
        (group(two, two) | group(), [2, 2]),
        (two | group(), 2),
        (two | plus | group() | plus, 4),
        (two | (plus | group()), 3),
        (chord([two], total.s()) | group(), 2),
        (chain(two, chain(group()), plus), 3),
        # An empty group behind one task is a header: its body gets an empty list.
        (two | group() | total.s(), 0),
        (two | (plus | group()) | total.s(), 0),
        (chain(two, chain(plus, group()), plus), 4),
        (group(two | group(plus, plus)), [3, 3]),
    ],
    ids=repr,
)
def test_empty_and_single_groups(run: Run, sig: Any, value: Any) -> None:
    assert run(sig).get() == value


FAILING = {
    "body": chord([boom.si(), two], total.s()),
    "behind_the_body": chord([boom.si(), two], total.s()) | plus,
    "chain_in_a_header": chord([two | boom.si() | plus, two], total.s()),
    "chord_in_a_header": chord([chord([boom.si(), two], total.s()), two], total.s()) | plus,
    "group_of_chords": group(chord([boom.si(), two], total.s()), two),
}


@pytest.mark.parametrize("sig", FAILING.values(), ids=FAILING)
def test_get_raises_the_exception_of_the_member(run: Run, sig: Any) -> None:
    with pytest.raises(ValueError, match="boom"):
        run(sig).get()


def test_chord_error_is_the_result_and_is_raised_without_parents(run: Run) -> None:
    result = run(chord([boom.si(), two], total.s()) | plus)
    for each in (result, result.parent):
        assert isinstance(each.result, ChordError)
        with pytest.raises(ChordError) as caught:
            each.get(follow_parents=False)
        assert repr(caught.value.__cause__) == "ValueError('boom')"
        assert isinstance(each.get(propagate=False), ChordError)


def test_own_error_of_a_body_is_raised(run: Run) -> None:
    with pytest.raises(ValueError, match="boom"):
        run(chord([two], boom.s())).get()


def test_tasks_in_place_of_signatures(run: Run) -> None:
    assert run(chord([given, given], hears), [1]).get() == [[[[1]], {}]] * 2
    assert run(group([given, given])).get() == [[[], {}]] * 2
    assert run(chain(two, hears)).get() == 2


def test_members_skewed_in_time_run(run: Run) -> None:
    sig = group(two, two, two).skew(start=0, stop=1, step=1)
    assert [each.options["countdown"] for each in sig.tasks] == [0, 1, 1]
    assert ends(run(group(two, two).skew(start=-2, step=1))) == [2, 2]


class _Stamping(Task[..., Any]):
    abstract = True

    def on_replace(self, sig: Any) -> Any:
        sig.stamp(by="on_replace")
        return super().on_replace(sig)


@task(bind=True, base=_Stamping)
def replacing(self: Any) -> None:
    raise self.replace(_REPLACEMENT)


_REPLACEMENT = stamped.si()


def test_on_replace_may_change_the_replacement(run: Run) -> None:
    assert last(run(replacing.s())) is None
    assert calls == [{"by": "on_replace"}]
    assert _REPLACEMENT.options == {}


def test_result_by_id_raises_the_exception_of_the_member(run: Run) -> None:
    result = run(chord([boom.si(), two], total.s()))
    if isinstance(result, EagerResult):
        return  # it has no row to be read by its id
    with pytest.raises(ValueError, match="boom"):
        AsyncResult[Any](result.id).get()
