"""German is complete: every text of the pages has a translation, and the compiled catalogues have them all."""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

from tests.support.processes import ROOT

CATALOGUES = ["taskq", "taskq_admin"]
MADE_AGAIN = "python manage.py makemessages -l de --no-obsolete in {0}/, translate, and compilemessages -l de"


def catalogue(app: str) -> Path:
    return ROOT / app / "locale/de/LC_MESSAGES/django.po"


def entries(text: str) -> list[dict[str, str]]:
    """Return the entries of a .po file but that of its header: keywords with their texts, and ``#`` with the flags."""
    found = []
    for block in text.split("\n\n"):
        entry: dict[str, str] = {"#": ""}
        keyword = ""
        for line in block.splitlines():
            if line.startswith("#,"):
                entry["#"] += line
            elif match := re.match(r'(msg\S+) (".*")$', line):
                keyword = match[1]
                entry[keyword] = _text(match[2])
            elif line.startswith('"'):
                entry[keyword] += _text(line)
        if entry.get("msgid"):
            found.append(entry)
    return found


def _text(quoted: str) -> str:
    return quoted[1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")


@pytest.mark.parametrize("app", CATALOGUES)
def test_every_text_is_translated_and_compiled(app: str) -> None:
    path = catalogue(app)
    with path.with_suffix(".mo").open("rb") as compiled:
        translations = gettext.GNUTranslations(compiled)
    found = list(entries(path.read_text()))
    assert found
    for entry in found:
        assert "fuzzy" not in entry["#"], entry["msgid"]
        texts = {name: text for name, text in entry.items() if name.startswith("msgstr")}
        assert all(texts.values()), f"{entry['msgid']!r} is not translated: {MADE_AGAIN.format(app)}"
        assert len(texts) == (2 if "msgid_plural" in entry else 1)
        first, *_, last = [*texts.values(), *texts.values()]
        if "msgid_plural" in entry:
            numbers = [translations.ngettext(entry["msgid"], entry["msgid_plural"], number) for number in (1, 2)]
            assert numbers == [first, last]
        else:
            assert translations.gettext(entry["msgid"]) == first


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="needs gettext")
@pytest.mark.parametrize("app", CATALOGUES)
def test_the_catalogue_has_every_text(app: str, tmp_path: Path) -> None:
    copy = tmp_path / app
    shutil.copytree(ROOT / app, copy, ignore=shutil.ignore_patterns("__pycache__"))
    # Makes what is missing in the copy, from nothing but the sources.
    (copy / "locale/de/LC_MESSAGES/django.po").unlink()
    command = "from django.conf import settings; settings.configure(); import django; django.setup()\n"
    command += (
        "from django.core.management import call_command; call_command('makemessages', locale=['de'], verbosity=0)"
    )
    subprocess.run([sys.executable, "-c", command], cwd=copy, check=True, capture_output=True)
    made = {entry["msgid"] for entry in entries((copy / "locale/de/LC_MESSAGES/django.po").read_text())}
    known = {entry["msgid"] for entry in entries(catalogue(app).read_text())}
    assert made == known, MADE_AGAIN.format(app)


def test_pages_are_german_for_germans(admin_client: Client) -> None:
    page = admin_client.get("/admin/taskq/taskrun/?tab=failed", headers={"accept-language": "de"})
    assert "Failed" in page.content.decode()  # without LocaleMiddleware a site has one language
    from django.utils import translation

    with translation.override("de"):
        german = admin_client.get("/admin/taskq/taskrun/?tab=failed").content.decode()
    for text in ("Aufgabenwarteschlange", "Aufgaben", "Gescheitert", "Widerrufen", "Keine Aufgabe ist gescheitert."):
        assert text in german
