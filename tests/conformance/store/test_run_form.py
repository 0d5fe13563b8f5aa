"""The admin's form that runs a task: pressed twice at once it sends once, on each database."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connections

from taskq.models import Message, Revocation, ScheduledMessage
from taskq_admin.actions.run_form import RunForm
from tests.support.jobs.flows import add


@pytest.mark.parametrize("options", [{}, {"countdown": "600"}])
def test_two_who_press_at_once_send_once(alias: str, settings: Any, options: dict[str, str]) -> None:
    settings.TASKQ_TRACK_PENDING = False  # the message alone says that it was sent
    forms = [RunForm(add.name)]
    ticket = forms[0]["ticket"].value()
    forms = [RunForm(add.name, {"argument_x": "1", "argument_y": "2", "ticket": ticket, **options}) for _ in range(3)]
    for form in forms:
        assert form.is_valid(), form.errors
    start, sent = threading.Barrier(3), []

    def press(form: RunForm) -> None:
        start.wait(60)
        sent.append(form.send())
        connections[alias].close()

    threads = [threading.Thread(target=press, args=[form]) for form in forms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(sent) == [False, False, True], [form.errors for form in forms]
    assert Message.objects.using(alias).count() + ScheduledMessage.objects.using(alias).count() == 1
    assert not Revocation.objects.using(alias).exists()
