"""How many tasks a worker runs at a time, by its options and settings: what the command line says beats a setting."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

from taskq.management.commands.taskworker import Command


def size_of(*options: str) -> tuple[Any, int, str]:
    """Return the limits of autoscaling, the number of tasks, and what was said."""
    said = StringIO()
    command = Command(stderr=said, no_color=True)
    parsed = vars(command.create_parser("manage.py", "taskworker").parse_args(list(options)))
    config = command._config(parsed)
    return config.autoscale, config.concurrency, said.getvalue()


@pytest.mark.parametrize(
    ("options", "autoscale", "concurrency"),
    [((), (10, 3), 3), (("-c", "4"), None, 4), (("-P", "solo"), None, 1), (("--autoscale=5,2",), (5, 2), 2)],
)
def test_options_beat_the_setting_of_autoscaling(
    settings: Any, options: tuple[str, ...], autoscale: Any, concurrency: int
) -> None:
    settings.TASKQ_AUTOSCALE = (10, 3)
    assert size_of(*options) == (autoscale, concurrency, "")


def test_number_that_is_not_used_is_said() -> None:
    autoscale, concurrency, said = size_of("-c", "4", "--autoscale=5,2")
    assert (autoscale, concurrency) == ((5, 2), 2)
    assert "--concurrency is not used" in said
