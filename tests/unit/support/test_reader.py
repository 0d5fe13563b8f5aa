"""The reader of the tutorial: an output that is not the printed one is an error, and files are written as shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.reader import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    folder = tmp_path / "work"
    folder.mkdir()
    return Reader(folder, dict(os.environ))


def page(reader: Reader, *blocks: str) -> Path:
    path = reader.logs / "page.md"
    path.write_text("".join(f"```{block}\n```\n\n" for block in blocks))
    return path


def test_a_page_is_followed(reader: Reader) -> None:
    text = "python\n# shop/tasks.py\none = 1", "python\n# shop/tasks.py, at the end\ntwo = 2"
    (reader.folder / "shop").mkdir()
    shown = "console\n$ cat shop/tasks.py\n...\ntwo = 2\n$ echo 'in 0.000074s'\nin 1.5s"
    assert reader.follow(page(reader, *text, shown)) == {"python", "console"}
    assert (reader.folder / "shop" / "tasks.py").read_text() == "# shop/tasks.py\none = 1\n\ntwo = 2\n"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("console\n$ echo one\ntwo", "line 2: .* echo one printed\\none"),
        ("console\n$ echo one; echo two\none", "printed"),
        ("console\n$ false", "status 1"),
        ("python\none = 1", "has no name"),
    ],
)
def test_what_a_page_does_not_say_is_an_error(reader: Reader, block: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        reader.follow(page(reader, block))
