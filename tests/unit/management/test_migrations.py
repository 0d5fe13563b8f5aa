"""Which migrations of taskq a database lacks: by their files, or by Django's plan where names alone don't say."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.checks.registry import registry
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

import taskq
from taskq.management import migrations

FIRST = "0001_initial"
NAMES = sorted(path.stem for path in Path(taskq.__file__).parent.glob("migrations/0*.py"))

pytestmark = pytest.mark.django_db


def test_migrated_database_lacks_nothing_and_django_is_not_asked_for_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_planned", lambda connection: pytest.fail("a plan loads every app's migrations"))
    assert migrations.missing(connection) == []


def test_migrations_that_are_not_recorded_are_missing() -> None:
    MigrationRecorder(connection).record_unapplied("taskq", NAMES[-1])
    assert migrations.missing(connection) == NAMES[-1:]


def test_all_are_missing_without_a_record() -> None:
    recorder = MigrationRecorder(connection)
    for name in NAMES:
        recorder.record_unapplied("taskq", name)
    assert migrations.missing(connection)[0] == FIRST
    assert migrations.missing(connection) == NAMES


def test_records_of_a_newer_version_and_of_other_apps_count_for_nothing() -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("taskq", "9999_later")
    assert migrations.missing(connection) == []
    recorder.record_unapplied("taskq", NAMES[-1])
    recorder.record_applied("contenttypes", NAMES[-1])
    assert migrations.missing(connection) == NAMES[-1:]


def test_file_without_a_record_is_left_to_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    # As after a squash: the plan knows that what it replaces is applied.
    monkeypatch.setattr(migrations, "_files", lambda: {*NAMES, "0001_squashed"})
    assert migrations.missing(connection) == []


def test_only_the_check_of_the_commands_for_migrations_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(registry.registered_checks)
    monkeypatch.setattr(registry, "registered_checks", before)
    migrations.forget_check_of_commands()
    forgotten = before - set(registry.registered_checks)
    assert {check.__module__ for check in forgotten} <= {"django.core.checks.commands"}
    assert "taskq.checks.databases" in {check.__module__ for check in registry.registered_checks}
