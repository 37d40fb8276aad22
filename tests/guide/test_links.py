"""Every page is reachable, every link leads somewhere, every page begins with what it is for."""

from pathlib import Path

import pytest

from tests.guide.pages import GUIDE, PAGES, anchors, links, name_of, read
from tests.guide.services import ROOT

_README_LINES = 300


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("start", [ROOT / "README.md", GUIDE / "README.md"], ids=name_of)
def test_every_page_is_linked_from(start: Path) -> None:
    linked = {(start.parent / link.partition("#")[0]).resolve() for link in links(start)}
    assert {page for page in PAGES if page.name != "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_opens_with_what_it_is_for(page: Path) -> None:
    title, blank, opening, *_ = read(page).splitlines()
    assert title.startswith("# ")
    assert not blank
    assert opening
    assert opening[0].isalpha() or page == GUIDE / "README.md"


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= _README_LINES
