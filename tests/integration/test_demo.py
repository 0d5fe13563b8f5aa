"""What a newcomer sees first: the test project's site, and ``make demo ONCE=1``."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from taskq.models import Message, ScheduledMessage, TaskRun
from testproject.reports.analysis import UnreadableFile, summarise_csv, summarise_text
from testproject.reports.models import Report
from testproject.reports.samples import SAMPLES
from testproject.reports.tasks import build
from testproject.traffic import Traffic
from tests.support.processes import ROOT


@pytest.mark.django_db(transaction=True)
class TestSite:
    def test_form_stores_the_report_and_sends_its_task(self, client: Client) -> None:
        response = client.post("/", {"sample": "orders.csv"})
        report = Report.objects.get()
        assert response.headers["Location"] == report.get_absolute_url()
        assert Message.objects.get().task_id == TaskRun.objects.get().task_id == report.task_id
        assert client.get(f"/reports/{report.pk}/status/").json()["state"] == "PENDING"

    def test_an_error_after_sending_leaves_no_row_of_any_kind(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def save(report: Report, update_fields: list[str] | None = None, **options: Any) -> None:
            if update_fields == ["task_id"]:
                assert Message.objects.count() == 1
                raise OSError("no disk")
            super(Report, report).save(update_fields=update_fields, **options)

        monkeypatch.setattr(Report, "save", save)
        with pytest.raises(OSError, match="no disk"):
            client.post("/", {"sample": "orders.csv"})
        assert (Report.objects.count(), Message.objects.count(), TaskRun.objects.count()) == (0, 0, 0)

    def test_form_without_a_file_is_refused(self, client: Client) -> None:
        assert "Choose either a file or a sample." in client.post("/", {"sample": ""}).content.decode()

    def test_admin_has_no_page_to_add_a_report(self, admin_client: Client) -> None:
        assert admin_client.get("/admin/reports/report/").status_code == 200
        assert admin_client.get("/admin/reports/report/add/").status_code == 403

    def test_report_page_links_to_its_task_in_the_admin(self, admin_client: Client) -> None:
        admin_client.post("/", {"sample": "orders.csv"})
        report = Report.objects.get()
        address = f"/admin/taskq/taskrun/id/{report.task_id}/"
        assert address in admin_client.get(report.get_absolute_url()).content.decode()
        assert admin_client.get(address, follow=True).status_code == 200

    def test_report_page_shows_the_progress_of_its_task(self, client: Client) -> None:
        client.post("/", {"sample": "orders.csv"})
        report = Report.objects.get()
        TaskRun.objects.update(state="PROGRESS", result='{"done": 100, "total": 400}')
        progress = client.get(f"/reports/{report.pk}/status/").json()
        assert (progress["state"], progress["done"], progress["total"], progress["finished"]) == (
            "PROGRESS",
            100,
            400,
            False,
        )
        assert 'max="400" value="100"' in client.get(report.get_absolute_url()).content.decode()

    def test_demo_pages_have_no_inline_script_or_style(self, client: Client) -> None:
        client.post("/", {"sample": "orders.csv"})
        for address in ("/", Report.objects.get().get_absolute_url()):
            page = client.get(address).content.decode()
            assert page.count("<script") == page.count("<script src=")
            assert "onclick" not in page
            assert "style=" not in page


@pytest.mark.django_db
class TestDoor:
    """The link that logs in."""

    @pytest.fixture(autouse=True)
    def user(self) -> None:
        User.objects.create(username="demo", password="!", is_staff=True, is_superuser=True)

    @override_settings(DEBUG=True, DEMO_LOGIN="the-key")
    def test_the_key_opens_the_admin(self, client: Client) -> None:
        assert client.get("/demo/the-key/").headers["Location"] == "/admin/taskq/"
        assert client.get("/admin/taskq/").status_code == 200

    @pytest.mark.parametrize(
        ("key", "debug", "sent", "address"),
        [
            ("the-key", True, "another", "127.0.0.1"),
            ("the-key", True, "the-key", "192.0.2.1"),
            ("the-key", False, "the-key", "127.0.0.1"),
            ("", True, "the-key", "127.0.0.1"),
        ],
    )
    def test_there_is_no_door_otherwise(self, client: Client, key: str, debug: bool, sent: str, address: str) -> None:
        with override_settings(DEBUG=debug, DEMO_LOGIN=key):
            assert client.get(f"/demo/{sent}/", REMOTE_ADDR=address).status_code == 404
        assert "_auth_user_id" not in client.session


@pytest.mark.django_db(transaction=True)
def test_traffic_is_of_many_kinds_that_all_can_be_sent() -> None:
    traffic = Traffic()
    traffic.begin()
    for _ in range(12):
        traffic.go_on()
    names = set(TaskRun.objects.values_list("name", flat=True))
    assert len(names) >= 8
    assert ScheduledMessage.objects.count() == 5
    assert not TaskRun.objects.filter(arguments__contains="4111").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("sample", "figure", "value"), [("orders.csv", "rows", 400), ("essay.txt", "lines", 300)])
def test_report_task_stores_its_summary(sample: str, figure: str, value: int) -> None:
    report = Report.objects.create(title=sample, source=SAMPLES[sample])
    assert build.apply((report.pk,)).get()[figure] == value
    report.refresh_from_db()
    assert report.summary[figure] == value


def test_csv_file_with_a_short_line_is_refused_with_its_number() -> None:
    with pytest.raises(UnreadableFile, match="line 402 has 2 columns, the header has 3"):
        list(summarise_csv(SAMPLES["broken.csv"]))


@pytest.mark.parametrize("summarise", [summarise_csv, summarise_text])
def test_an_empty_file_is_refused(summarise: Any) -> None:
    with pytest.raises(UnreadableFile):
        list(summarise(""))


def test_the_demo_names_a_free_port_if_its_own_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        demo = subprocess.run(
            [sys.executable, "-m", "testproject.demo", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert demo.returncode == 1
    assert re.fullmatch(rf"Port {port} is taken .* make demo PORT=\d+\n", demo.stderr)
    assert demo.stdout == ""


def test_the_demo_runs_once_and_ends_with_status_0() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "testproject.demo", "--once"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "add.delay(2, 2).get()" in demo.stdout
    assert "<-- expected" not in demo.stdout
