"""YAML text as plain values, with the position of each value.

PyYAML composes a tree of nodes, which know their line and column, and constructs values from them, which do
not. `Document` keeps the tree. Values are addressed by key path, the mapping keys and list indices from the
root: `("secrets", "required", 0, "name")`. When a message needs a position, `Document.position` follows the
key path through the tree. So values stay plain, and positions cost time only where there is an error.

A document passes three stages:

1. Compose. A syntax error ends the loading, as the tree is incomplete.
2. Measure. Aliases make the tree a graph, which must have no cycle, and at most 100,000 values and 100 levels
   with every alias expanded. Later stages may then recurse.
3. Check. Constructs that YAML allows and a Dockfile does not (duplicate keys, keys that are not strings,
   tags) are collected in `Document.errors`, scalars are read, and merge keys (`<<`) are resolved. The
   document can still be built, so that errors in its fields are reported together with these.

Scalars follow YAML 1.2, see `yaml_scalars`; merge keys are an addition from YAML 1.1.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec import UNSET

from dockrion.dockfile.problems import DockfileError, KeyPath, Problem, one_line
from dockrion.dockfile.yaml_scalars import CORE, Loader, is_unicode, read_scalar

_MAX_BYTES = 1024 * 1024
_MAX_NODES = 100_000
_MAX_DEPTH = 100
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels"


class InvalidNode(NamedTuple):
    """A construct that YAML allows and a Dockfile does not."""

    keys: KeyPath
    line: int
    column: int
    message: str


class Document:
    """One YAML document whose root is a mapping.

    Args:
        text: The YAML.
        file: The file's name in messages.

    Raises:
        DockfileError: The text is not such a document.
    """

    def __init__(self, text: str, file: str) -> None:
        self.errors: list[InvalidNode] = []  # what a Dockfile must not contain
        self._file = file
        self._scalars: dict[int, Any] = {}
        self._loader, root = self._compose(text)
        if root is None:
            raise self._fatal(1, 1, "the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise self._fatal(1, 1, "expected a mapping of sections")
        self._root = root
        self._check_size()
        self._check(root, (), set())

    def build(self, scalar: Callable[[KeyPath, str], Any]) -> Any:
        """Return the document as plain values.

        Args:
            scalar: Called with the key path and the text of each string; returns its value.
        """
        return self._build(self._root, (), scalar)

    def text(self, keys: KeyPath) -> str | None:
        """Return the source text of a scalar, or None if there is no scalar at the key path."""
        pair = self._find(keys)
        return pair[1].value if pair and isinstance(pair[1], yaml.ScalarNode) else None

    def is_plain(self, keys: KeyPath) -> bool:
        """Return whether there is a scalar without quotes at the key path."""
        pair = self._find(keys)
        return pair is not None and isinstance(pair[1], yaml.ScalarNode) and pair[1].style is None

    def position(self, keys: KeyPath) -> tuple[int, int]:
        """Return line and column of a value, or of its innermost parent that exists."""
        while keys:
            if pair := self._find(keys):
                return _position(pair[1])
            keys = keys[:-1]
        return 1, 1

    def key_position(self, keys: KeyPath) -> tuple[int, int]:
        """Return line and column of a mapping's key."""
        pair = self._find(keys)
        return _position(pair[0]) if pair else self.position(keys)

    def _compose(self, text: str) -> tuple[Loader, yaml.Node | None]:
        try:
            loader = Loader(text)
        except yaml.reader.ReaderError as error:
            line, column = _end_position(text[: error.position])
            message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
            raise self._fatal(line, column, message) from None
        try:
            return loader, loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            from dockrion.dockfile.yaml_errors import explain  # noqa: PLC0415  memory: most Dockfiles are YAML

            raise self._fatal(*explain(error, text, loader.get_mark())) from None
        except RecursionError:
            mark, message = loader.get_mark(), _TOO_DEEP
        except (ValueError, OverflowError):
            mark, message = loader.get_mark(), "not a valid escape"  # "\UFFFFFFFF"
        raise self._fatal(mark.line + 1, mark.column + 1, message)

    def _check_size(self) -> None:
        try:
            size, depth = self._measure(self._root, {}, set())
        except RecursionError:
            raise self._fatal(1, 1, _TOO_DEEP) from None
        if size > _MAX_NODES:
            raise self._fatal(1, 1, f"more than {_MAX_NODES} values, aliases expanded")
        if depth > _MAX_DEPTH:
            raise self._fatal(1, 1, _TOO_DEEP)

    def _measure(
        self, node: yaml.Node, measured: dict[int, tuple[int, int]], parents: set[int]
    ) -> tuple[int, int]:
        """Return the number of values in a node, aliases expanded, and the depth of their nesting."""
        if id(node) in measured:
            return measured[id(node)]
        if id(node) in parents:
            raise self._fatal(*_position(node), "an alias contains itself")
        parents.add(id(node))
        size, depth = 1, 0
        for child in _children(node):
            child_size, child_depth = self._measure(child, measured, parents)
            size, depth = size + child_size, max(depth, child_depth)
        parents.remove(id(node))
        measured[id(node)] = size, depth + 1
        return size, depth + 1

    def _check(self, node: yaml.Node, keys: KeyPath, seen: set[int]) -> None:
        """Collect errors, read scalars, and resolve merge keys (`<<`)."""
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
                self._error(node, keys, error.problem or "cannot be merged")
            for key, value in _pairs(node):
                self._check(value, (*keys, key.value), seen)

    def _check_keys(self, node: yaml.MappingNode, keys: KeyPath) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == f"{CORE}merge":
                continue
            if key.tag != f"{CORE}str" or not isinstance(key, yaml.ScalarNode):
                self._error(key, keys, "a key must be a string: write it in quotes")
            elif not is_unicode(key.value):
                self._error(key, keys, "a key is not valid Unicode")
            elif key.value in lines:
                line = lines[key.value]
                self._error(key, (*keys, key.value), f"duplicate key, first used on line {line}")
            else:
                lines[key.value] = _position(key)[0]

    def _expect_tag(self, node: yaml.Node, name: str, keys: KeyPath) -> None:
        if node.tag != CORE + name:
            self._error(node, keys, "tags are not supported")

    def _read(self, node: yaml.ScalarNode, keys: KeyPath) -> Any:
        """Return a scalar's value, or `msgspec.UNSET` and an error if it is invalid."""
        try:
            return read_scalar(node)
        except ValueError as error:
            self._error(node, keys, str(error))
            return UNSET

    def _build(self, node: yaml.Node, keys: KeyPath, scalar: Callable[[KeyPath, str], Any]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {key.value: self._build(value, (*keys, key.value), scalar) for key, value in _pairs(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*keys, index), scalar) for index, item in enumerate(node.value)]
        value = self._scalars[id(node)]
        return scalar(keys, value) if isinstance(value, str) else value

    def _find(self, keys: KeyPath) -> tuple[yaml.Node, yaml.Node] | None:
        """Return the nodes of a key and its value, or None if there is no such key."""
        pair: tuple[yaml.Node, yaml.Node] = (self._root, self._root)
        for key in keys:
            node = pair[1]
            child = None
            if isinstance(node, yaml.MappingNode):
                # The last one is effective: keys merged in with `<<` precede the mapping's own.
                child = next((each for each in reversed(_pairs(node)) if each[0].value == key), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                child = (node.value[key], node.value[key])
            if child is None:
                return None
            pair = child
        return pair

    def _error(self, node: yaml.Node, keys: KeyPath, message: str) -> None:
        self.errors.append(InvalidNode(keys, *_position(node), message))

    def _fatal(self, line: int, column: int, message: str) -> DockfileError:
        return DockfileError([Problem(self._file, line, column, "", one_line(message))])


def read_text(path: Path) -> str:
    """Read a UTF-8 file of at most 1 MiB.

    Raises:
        DockfileError: It cannot be read, is too large, or is not UTF-8.
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
        line, column = _end_position(data[: error.start].decode("utf-8-sig", "replace"))
        raise DockfileError([Problem(file, line, column, "", "not UTF-8 text")]) from None


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    return [(key, value) for key, value in node.value if key.tag == f"{CORE}str" and is_unicode(key.value)]


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _end_position(text: str) -> tuple[int, int]:
    """Return line and column of the character after the text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")
