from __future__ import annotations

import re
from pathlib import Path

from taskq.engines import Engine

HOW_TO = Path(__file__).parents[3] / "docs/how-to/change-the-code.md"


def test_the_recipe_of_a_database_names_the_methods_that_its_engine_has_to_have() -> None:
    _, _, recipe = HOW_TO.read_text(encoding="utf-8").partition("an engine without the abstract methods:")
    assert set(re.findall(r"`(\w+)`", recipe.partition("\n- ")[0])) == Engine.__abstractmethods__
