"""The recipes in the guide are those of config/, and the lightest run with the real frameworks."""

from pathlib import Path

import pytest

from tests.frameworks.checks import check
from tests.frameworks.environments import PACKAGES, ROOT, extend
from tests.guide.pages import blocks, page

RECIPES = sorted((ROOT / "config/agents/frameworks").glob("*.py"))


def test_every_recipe_is_in_the_guide_as_it_is_run() -> None:
    shown = [block.text for block in blocks(page("frameworks"), "python")]
    assert sorted(shown) == [f"# {path.name}\n{path.read_text()}" for path in RECIPES]


def test_every_recipe_is_checked() -> None:
    assert [path.stem for path in RECIPES] == [f"{name}_agent" for name in sorted(PACKAGES)]


@pytest.mark.parametrize("name", ["pydantic_ai", "smolagents"])
async def test_a_recipe_streams_everything_and_stops(name: str, tmp_path: Path) -> None:
    await check(extend(tmp_path, name), name)
