"""Says what to write where YAML cannot be parsed: the parser names its own states, not the user's slip."""

import re
from typing import NamedTuple

import yaml

_LIST_IN_MAPPING = "a list item among the fields of a mapping: indent it below its field, or remove the dash"
_ABOVE = "the line above lacks its colon, or what follows it"
_AFTER_VALUE = "text after a quoted value: put all of it in quotes, of the other kind if it has some itself"
_INDENTATION = re.compile(r" *(?:- +)*")  # an item's fields line up behind its dash


class Mistake(NamedTuple):
    """What is wrong, and where: line and column count from 1."""

    line: int
    column: int
    message: str


def explain(error: yaml.MarkedYAMLError, text: str, end: yaml.Mark) -> Mistake:
    """Return what is wrong in a text that is not YAML.

    Args:
        error: What the parser says.
        text: The text.
        end: Where the parser has come to, for errors without a position.
    """
    mark = error.problem_mark or error.context_mark or end
    start = error.context_mark or mark
    problem = error.problem or ""
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)  # as YAML counts them
    line = lines[mark.line] if mark.line < len(lines) else ""
    here = Mistake(mark.line + 1, mark.column + 1, "")
    began = Mistake(start.line + 1, start.column + 1, "")

    if text[mark.index - 1 : mark.index + 1] == "${":
        return here._replace(message="between braces or brackets, ${…} must be in quotes")
    if found := re.match(r"found character '(.*)' that cannot start any token", problem):
        return here._replace(message=_unexpected(found[1], line[: mark.column]))
    if found := re.match(r"found unknown escape character '(.*)'", problem):
        message = f"\\{found[1]} is not an escape: write \\\\ for a backslash, or use single quotes"
        return here._replace(message=message)
    if problem == "found unexpected end of stream" and "quoted scalar" in (error.context or ""):
        return began._replace(message="the quote that opens here is not closed")
    if problem.startswith("expected ',' or"):
        bracket = text[start.index : start.index + 1]
        return here._replace(message=f"expected a comma, or the end of the {bracket} in line {began.line}")
    if problem.startswith("expected the node content"):
        return here._replace(message="expected a value; is a bracket not closed?")
    if problem == "could not find expected ':'":
        return began._replace(message="expected a field and its value: a colon, then a space, between them")
    if (error.context or "") in ("while scanning an alias", "while scanning an anchor"):
        sign = text[start.index : start.index + 1]
        return began._replace(message=f"a value that begins with {sign} must be in quotes")
    if problem.startswith("found undefined alias"):
        return here._replace(message="a value that begins with * must be in quotes")
    if problem == "sequence entries are not allowed here":
        return here._replace(message="a list item begins on a line of its own, below its field")
    if problem == "mapping values are not allowed here":
        return here._replace(message=_second_colon(lines, mark))
    if problem.startswith(("expected <block end>", "expected '<document start>'")):
        return here._replace(message=_block_end(problem, lines, mark, start))
    if problem == "but found another document":
        return here._replace(message="a second document: remove the line ---")
    return here._replace(message=", ".join(filter(None, (error.context, error.problem))))


def _unexpected(escaped: str, before: str) -> str:
    if escaped != r"\t":
        return f"a value that begins with {escaped} must be in quotes"
    if before.strip():
        return "a tab: write a space instead"
    return "a tab: indent with spaces instead, two for each level"


def _second_colon(lines: list[str], mark: yaml.Mark) -> str:
    line = lines[mark.line]
    above = _above(lines, mark.line)
    if re.search(r":\s", line[: mark.column]):
        return "a colon and a space within a value: write the value in quotes"
    if above is not None and _indentation(line) <= _indentation(above):
        return _ABOVE
    return _wrong_indentation(line, above)


def _block_end(problem: str, lines: list[str], mark: yaml.Mark, start: yaml.Mark) -> str:
    line = lines[mark.line] if mark.line < len(lines) else ""
    if line[: mark.column].strip(" -"):
        return _AFTER_VALUE
    if problem.endswith("'-'") and mark.column == start.column:
        return _LIST_IN_MAPPING
    above = _above(lines, mark.line)
    if above is not None and _indentation(line) == _indentation(above):
        return _ABOVE
    return _wrong_indentation(line, above)


def _wrong_indentation(line: str, above: str | None) -> str:
    here = _spaces(_indentation(line))
    there = "" if above is None else f", and the line above by {_indentation(above)}"
    return f"wrong indentation: this line is indented by {here}{there}; fields of one section line up"


def _above(lines: list[str], number: int) -> str | None:
    """Return the line above that is neither blank nor a comment."""
    above = (line for line in reversed(lines[:number]) if line.strip() and not line.lstrip().startswith("#"))
    return next(above, None)


def _indentation(line: str) -> int:
    found = _INDENTATION.match(line)
    return found.end() if found else 0


def _spaces(count: int) -> str:
    return f"{count} space" if count == 1 else f"{count} spaces"
