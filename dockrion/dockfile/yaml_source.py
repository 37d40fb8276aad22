"""YAML text as plain values, with the place of each.

The node tree is kept, so that any value's line and column can be looked up when a message
needs them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec import UNSET

from dockrion.dockfile.problems import DockfileError, Keys, Problem, one_line

_MAX_BYTES = 1024 * 1024
_MAX_NODES = 100_000
_MAX_DEPTH = 100
_MAX_BITS = 64
_CORE = "tag:yaml.org,2002:"
_NOT_RESOLVED = {f"{_CORE}timestamp", f"{_CORE}value"}  # dates, and a plain `=`, stay strings
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012  declared so by PyYAML
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_RESOLVED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Note(NamedTuple):
    """Something a Dockfile must not have, though it is YAML."""

    keys: Keys
    line: int
    column: int
    message: str


class Document:
    """One YAML document whose root is a mapping.

    Args:
        text: The YAML.
        file: What problems call the file.

    Raises:
        DockfileError: The text cannot be read as one such document.
    """

    def __init__(self, text: str, file: str) -> None:
        self.notes: list[Note] = []
        self._file = file
        self._scalars: dict[int, Any] = {}
        self._loader, root = self._compose(text)
        if root is None:
            raise self._fatal(1, 1, "the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise self._fatal(1, 1, "expected a mapping of sections")
        self._root = root
        self._refuse_bombs()
        self._check(root, (), set())

    def build(self, scalar: Callable[[Keys, str], Any]) -> Any:
        """Return the document as plain values.

        Args:
            scalar: Gets the keys and the text of each string, and returns its value.
        """
        return self._build(self._root, (), scalar)

    def text(self, keys: Keys) -> str | None:
        """Return a scalar as it is written, or None if something else stands there."""
        pair = self._find(keys)
        return pair[1].value if pair and isinstance(pair[1], yaml.ScalarNode) else None

    def position(self, keys: Keys) -> tuple[int, int]:
        """Return line and column of a value, or of the innermost parent that is there."""
        while keys:
            if pair := self._find(keys):
                return _place(pair[1])
            keys = keys[:-1]
        return 1, 1

    def key_position(self, keys: Keys) -> tuple[int, int]:
        """Return line and column of a mapping's key."""
        pair = self._find(keys)
        return _place(pair[0]) if pair else self.position(keys)

    def _compose(self, text: str) -> tuple[_Loader, yaml.Node | None]:
        try:
            loader = _Loader(text)
        except yaml.reader.ReaderError as error:
            line, column = _count(text[: error.position])
            message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
            raise self._fatal(line, column, message) from None
        try:
            return loader, loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark or loader.get_mark()
            message = ", ".join(filter(None, (error.context, error.problem)))
            if text[mark.index - 1 : mark.index + 1] == "${":
                message = "between braces or brackets, ${…} must be in quotes"
        except RecursionError:
            mark, message = loader.get_mark(), _TOO_DEEP
        except (ValueError, OverflowError):
            mark, message = loader.get_mark(), "not a valid escape"  # "\UFFFFFFFF"
        raise self._fatal(mark.line + 1, mark.column + 1, message)

    def _refuse_bombs(self) -> None:
        try:
            size, depth = self._measure(self._root, {}, set())
        except RecursionError:
            raise self._fatal(1, 1, _TOO_DEEP) from None
        if size > _MAX_NODES:
            raise self._fatal(1, 1, f"more than {_MAX_NODES} values, aliases expanded")
        if depth > _MAX_DEPTH:
            raise self._fatal(1, 1, _TOO_DEEP)

    def _measure(
        self, node: yaml.Node, known: dict[int, tuple[int, int]], parents: set[int]
    ) -> tuple[int, int]:
        """Return how many values a node stands for, aliases expanded, and how deep they nest."""
        if id(node) in known:
            return known[id(node)]
        if id(node) in parents:
            raise self._fatal(*_place(node), "an alias contains itself")
        parents.add(id(node))
        size, depth = 1, 0
        for child in _children(node):
            child_size, child_depth = self._measure(child, known, parents)
            size, depth = size + child_size, max(depth, child_depth)
        parents.remove(id(node))
        known[id(node)] = size, depth + 1
        return size, depth + 1

    def _check(self, node: yaml.Node, keys: Keys, seen: set[int]) -> None:
        """Note what YAML allows and a Dockfile does not, read scalars, and resolve `<<`."""
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            self._scalars[id(node)] = self._read(node, keys)
        elif isinstance(node, yaml.SequenceNode):
            self._expect_tag(node, "seq", keys)
            for index, item in enumerate(node.value):
                self._check(item, (*keys, index), seen)
        elif isinstance(node, yaml.MappingNode):
            self._expect_tag(node, "map", keys)
            self._check_keys(node, keys)
            try:
                self._loader.flatten_mapping(node)
            except yaml.MarkedYAMLError as error:
                self._note(node, keys, error.problem or "cannot be merged")
            for key, value in _pairs(node):
                self._check(value, (*keys, key.value), seen)

    def _check_keys(self, node: yaml.MappingNode, keys: Keys) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == f"{_CORE}merge":
                continue
            if key.tag != f"{_CORE}str" or not isinstance(key, yaml.ScalarNode):
                self._note(key, keys, "a key must be a string: write it in quotes")
            elif not is_unicode(key.value):
                self._note(key, keys, "a key is not valid Unicode")
            elif key.value in first:
                line = first[key.value]
                self._note(key, (*keys, key.value), f"duplicate key, it is on line {line} already")
            else:
                first[key.value] = _place(key)[0]

    def _expect_tag(self, node: yaml.Node, name: str, keys: Keys) -> None:
        if node.tag != _CORE + name:
            self._note(node, keys, "a tag is not supported here")

    def _read(self, node: yaml.ScalarNode, keys: Keys) -> Any:
        """Return a scalar's value; `msgspec.UNSET` if it has none, which is noted."""
        kind = node.tag.removeprefix(_CORE)
        try:
            match kind:
                case "str" | "merge":
                    value: Any = node.value
                case "null":
                    value = None
                case "bool":
                    value = self._loader.construct_yaml_bool(node)
                case "int":
                    value = self._loader.construct_yaml_int(node)
                case "float":
                    value = self._loader.construct_yaml_float(node)
                case _:
                    self._expect_tag(node, "str", keys)
                    return UNSET
        except (ValueError, LookupError):
            problem = f"not a valid {kind}"
        else:
            if isinstance(value, int) and value.bit_length() >= _MAX_BITS:
                problem = f"an integer of more than {_MAX_BITS} bits"
            elif isinstance(value, str) and not is_unicode(value):
                problem = "not valid Unicode"
            else:
                return value
        self._note(node, keys, problem)
        return UNSET

    def _build(self, node: yaml.Node, keys: Keys, scalar: Callable[[Keys, str], Any]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {key.value: self._build(value, (*keys, key.value), scalar) for key, value in _pairs(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*keys, index), scalar) for index, item in enumerate(node.value)]
        value = self._scalars[id(node)]
        return scalar(keys, value) if isinstance(value, str) else value

    def _find(self, keys: Keys) -> tuple[yaml.Node, yaml.Node] | None:
        """Return the key's node and the value's node."""
        pair: tuple[yaml.Node, yaml.Node] = (self._root, self._root)
        for key in keys:
            node = pair[1]
            found = None
            if isinstance(node, yaml.MappingNode):
                # The last one wins: keys merged in with `<<` come first.
                found = next((each for each in reversed(_pairs(node)) if each[0].value == key), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                found = (node.value[key], node.value[key])
            if found is None:
                return None
            pair = found
        return pair

    def _note(self, node: yaml.Node, keys: Keys, message: str) -> None:
        self.notes.append(Note(keys, *_place(node), message))

    def _fatal(self, line: int, column: int, message: str) -> DockfileError:
        return DockfileError([Problem(self._file, line, column, "", one_line(message))])


def read_text(path: Path) -> str:
    """Read a UTF-8 file of a sane size.

    Raises:
        DockfileError: It cannot be read, is too large, or is no UTF-8.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DockfileError([Problem(file, 0, 0, "", f"cannot be read: {reason}")]) from None
    if len(data) > _MAX_BYTES:
        raise DockfileError([Problem(file, 0, 0, "", f"larger than {_MAX_BYTES} bytes")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _count(data[: error.start].decode("utf-8-sig", "replace"))
        raise DockfileError([Problem(file, line, column, "", "not UTF-8 text")]) from None


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    return [(key, value) for key, value in node.value if key.tag == f"{_CORE}str" and is_unicode(key.value)]


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _count(text: str) -> tuple[int, int]:
    """Return line and column of what follows the text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def is_unicode(text: str) -> bool:
    """Tell whether text has no lone surrogates: an escape, or undecodable bytes, can make them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
