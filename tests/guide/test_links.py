"""Check the links between the pages, and how each page opens."""

from pathlib import Path

import pytest

from tests.guide.pages import GUIDE, PAGES, anchors, links, name_of, read
from tests.guide.services import ROOT

_README_LINES = 300


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_links_exist(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("start", [ROOT / "README.md", GUIDE / "README.md"], ids=name_of)
def test_every_page_is_linked_from_the_index(start: Path) -> None:
    linked = {(start.parent / link.partition("#")[0]).resolve() for link in links(start)}
    assert {page for page in PAGES if page.name != "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_opens_with_a_title_and_its_purpose(page: Path) -> None:
    title, blank, opening, *_ = read(page).splitlines()
    assert title.startswith("# ")
    assert not blank
    assert opening
    assert opening[0].isalpha()


def test_the_readme_is_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= _README_LINES
