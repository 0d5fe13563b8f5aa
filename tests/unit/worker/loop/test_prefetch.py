"""How much is fetched and handed over; ``tests/properties`` has what is true of all numbers."""

from __future__ import annotations

from taskq.worker.loop.prefetch import IN_HAND, LONG, PrefetchPolicy


def _observed(*runs: tuple[str, float], **options: object) -> PrefetchPolicy:
    policy = PrefetchPolicy(**options)  # type: ignore[arg-type]
    for name, seconds in runs:
        policy.observe(name, seconds)
    return policy


def test_task_never_observed_counts_as_long() -> None:
    policy = PrefetchPolicy()
    assert policy.cost("a") == LONG
    assert policy.fits(0, 0.0, policy.cost("a"))
    assert not policy.fits(1, 0.0, policy.cost("a"))
    assert policy.target(4) == 4


def test_short_tasks_are_kept_in_hand_for_some_time_of_work() -> None:
    policy = _observed(("a", 0.005))
    assert policy.fits(1, 0.005, policy.cost("a"))
    assert not policy.fits(4, 0.020, policy.cost("a"))
    assert abs(policy.target(2) - 2 * IN_HAND / 0.005) < 2


def test_long_run_lowers_the_limit_at_once() -> None:
    policy = _observed(*[("a", 0.001)] * 50, ("a", 2.0))
    assert not policy.fits(1, 0.001, policy.cost("a"))
    assert policy.target(2) == 2


def test_long_task_does_not_make_tasks_of_other_names_long() -> None:
    policy = _observed(*[("a", 0.001)] * 50, ("b", 2.0))
    assert policy.fits(1, 0.001, policy.cost("a"))
    assert not policy.fits(1, 0.001, policy.cost("b"))


def test_task_still_running_counts_as_long_though_others_are_longer() -> None:
    policy = _observed(("b", 10.0), *[("a", 0.001)] * 3)
    policy.observe_running("a", 0.3)
    assert not policy.fits(1, 0.0, policy.cost("a"))


def test_multiplier_of_zero_is_no_limit() -> None:
    assert _observed(("a", 9.0), multiplier=0).target(2) == 10_000
    assert _observed(("a", 0.001), multiplier=3).target(2) == 6


def test_fair_pace_hands_one_task_to_each_child() -> None:
    policy = _observed(("a", 0.001), fair=True)
    assert not policy.fits(1, 0.0, policy.cost("a"))
    assert policy.target(2) == 2
