"""Somebody who finds the test project on the net, and uploads what it was not made for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from testproject.reports import uploads
from testproject.reports.models import Report
from tests.support.processes import ROOT

_TELL = "from django.conf import settings; print(settings.DEBUG, len(settings.SECRET_KEY), settings.SECRET_KEY)"


def told(**environment: str) -> list[str]:
    """Return what a process says of the settings."""
    clean = {name: value for name, value in os.environ.items() if name not in ("DEBUG", "SECRET_KEY")}
    environment = {**clean, "DJANGO_SETTINGS_MODULE": "testproject.settings", **environment}
    ran = subprocess.run([sys.executable, "-c", _TELL], cwd=ROOT, env=environment, capture_output=True, check=True)
    return ran.stdout.decode().split(maxsplit=2)


def test_debug_is_off_and_nobody_knows_the_secret() -> None:
    one, other = told(), told()
    assert one[0] == "False"
    assert int(one[1]) >= 50
    assert one[2] != other[2]
    assert told(SECRET_KEY="mine")[2].strip() == "mine"


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was kept")

    monkeypatch.setattr("django.core.files.uploadhandler.MemoryFileUploadHandler.new_file", refuse)


@pytest.mark.usefixtures("db", "no_disk")
def test_request_that_is_too_large_is_refused_unread(client: Client) -> None:
    large = SimpleUploadedFile("large.csv", b"a" * uploads.LARGEST_REQUEST, content_type="text/csv")
    assert client.post("/", {"file": large}).status_code in (400, 413)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"a" * (uploads.LARGEST_FILE + 1), "larger than 1 MB"),
        ("a.csv", b"1\n" * (uploads.MOST_LINES + 1), "more than 10,000 lines"),
        ("a.csv", b"a\0b", "is not text"),
        ("a.csv", b"\xff\xfe", "is not text in UTF-8"),
        ("a.html", b"<script>", "File extension"),
        ("a", b"text", "File extension"),
    ],
    ids=["size", "lines", "zero", "encoding", "ending", "no ending"],
)
def test_files_of_other_sizes_and_types_are_refused(client: Client, name: str, content: bytes, problem: str) -> None:
    page = client.post("/", {"file": SimpleUploadedFile(name, content)}).content.decode()
    assert problem in page
    assert not Report.objects.exists()


@pytest.mark.django_db
def test_text_is_taken(client: Client) -> None:
    assert client.post("/", {"file": SimpleUploadedFile("A.CSV", b"a,b\n1,2\n")}).status_code == 302
    assert Report.objects.get().source == "a,b\n1,2\n"
