"""Regenerate the table of fields in the Dockfile reference: `python -m tests.guide`."""

from dockrion.dockfile.reference import table
from tests.guide.pages import page


def main() -> None:
    text = page("dockfile").read_text()
    rows = table()
    before = text.partition(rows.splitlines()[0])[0]
    page("dockfile").write_text(before + rows)


if __name__ == "__main__":
    main()
