"""Parse the README and the pages of the guide: code blocks, headings, links, tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.guide.services import ROOT

GUIDE = ROOT / "dockrion/guide"
PAGES = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: `sh` is executed, `console` starts services, `python`, `js` and `jsx` are files, `yaml` is a
            Dockfile or a part of one, `text` after `sh` is its expected output.
        text: The content.
        output: The content of the `text` block directly after an `sh` block, or nothing.
    """

    language: str
    text: str
    output: str = ""

    @property
    def file_name(self) -> str:
        """The file name, from the comment in the first line."""
        return re.sub(r"^(#|//) ", "", self.text.splitlines()[0])


@cache
def read(page: Path) -> str:
    return page.read_text()


def name_of(page: Path) -> str:
    return page.name if page.parent == GUIDE else f"/{page.name}"


def page(name: str) -> Path:
    return GUIDE / f"{name}.md"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return a page's blocks, of one language or of all."""
    found: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(read(page)):
        is_output = match[1] == "text" and found and not read(page)[end : match.start()].strip()
        if is_output and found[-1].language == "sh":
            found[-1] = Block("sh", found[-1].text, match[2])
        else:
            found.append(Block(match[1], match[2]))
        end = match.end()
    return [block for block in found if language in (None, block.language)]


def rows(page: Path, *header: str) -> list[list[str]]:
    """Return the cells of the table with this header."""
    text = read(page)
    start = text.index("| " + " | ".join(header) + " |")
    lines = text[start:].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(cell: str) -> list[str]:
    """Return the parts of a cell that are in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def first_names(cells: list[list[str]]) -> list[str]:
    """Return the first name in each row of a table, of rows that have one."""
    return [names(row[0])[0] for row in cells if names(row[0])]


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links."""
    prose = _BLOCK.sub("", read(page))
    yield from _LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_BLOCK.sub("", read(page))):
        text = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        anchor = text.replace(" ", "-")
        assert anchor not in found, f"{page}: two headings are called {heading}"
        found.add(anchor)
    return found
