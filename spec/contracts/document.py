"""A contract's file as written: its data, and the line of each part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

Path = tuple[str | int, ...]
MOST_DEPTH = 100
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
MOST_PARTS = 200_000  # a contract with a thousand fields has a tenth of that


@dataclass(frozen=True, order=True)
class Fault:
    """What is wrong with a contract, or (``note``) what its author should know.

    Attributes:
        file: Path as the user gave it.
        line: Counted from 1; 0 for the file as a whole.
        place: Path in the document, with fields by their names (``orders.order_id.logicalType``).
    """

    file: str
    line: int
    place: str
    says: str
    fix: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {f'{self.place}: ' if self.place else ''}{self.says}" + (
            f"\n  -> {self.fix}" if self.fix else ""
        )


class NotReadableError(Exception):
    """The file is not YAML, or not a mapping; ``fault`` says why."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault))


_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's own loader, except that dates stay text, as in the standard."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


# Sets, bytes and the like can't occur in a contract.
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or str(tag).rpartition(":")[2] in _PLAIN
}


@dataclass(frozen=True)
class Document:
    """A contract's text.

    Attributes:
        file: As the user named it.
    """

    file: str
    text: str

    @cached_property
    def data(self) -> dict[str, Any]:
        """What it holds.

        Raises:
            NotReadableError: It is not YAML, has a duplicate key, or is not a mapping.
        """
        if (known := self._json()) is not None:
            return known
        node = self._node
        if not isinstance(node, yaml.MappingNode):
            raise NotReadableError(Fault(self.file, 1, "", "is not a data contract: it contains no `key: value` pairs"))
        loader = _Loader("")
        try:
            made: dict[str, Any] = loader.construct_document(node)
        except (yaml.YAMLError, ValueError) as error:
            raise NotReadableError(self._unreadable(error)) from None
        finally:
            loader.dispose()
        return made

    def _json(self) -> dict[str, Any] | None:
        """The content of a JSON file, by JSON's own rules: YAML 1.1 reads some numbers and escapes differently. None
        where it is YAML.
        """
        if not self.text.lstrip("\ufeff \n\r\t").startswith("{"):
            return None
        try:
            self._node  # noqa: B018 (duplicate keys, and too many parts)
        except NotReadableError as error:
            if "twice" in error.fault.says or "more than" in error.fault.says or "deep" in error.fault.says:
                raise
        try:
            found = json.loads(self.text.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @cached_property
    def _node(self) -> yaml.Node | None:
        self._check_depth()
        try:
            node: yaml.Node | None = yaml.compose(self.text, _Loader)
        except (yaml.YAMLError, RecursionError) as error:
            raise NotReadableError(self._unreadable(error)) from None
        if _size(node, {}) > MOST_PARTS:
            raise NotReadableError(
                Fault(self.file, 0, "", f"has more than {MOST_PARTS:,} parts, once its aliases are expanded")
            )
        for path, key in _twice(node):
            is_text = isinstance(key, yaml.ScalarNode) and key.tag in (_TEXT, _MERGE)
            says, fix = (
                (f"`{key.value}` appears twice", "remove one of them")
                if is_text
                else ("a key is not text", "put it in quotes")
            )
            raise NotReadableError(Fault(self.file, key.start_mark.line + 1, _place(node, path), says, fix))
        return node

    def _check_depth(self) -> None:
        """Parsing is iterative, but composing is recursive: a million brackets would end the process."""
        depth = 0
        try:
            for event in yaml.parse(self.text, _Loader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > MOST_DEPTH:
                    raise NotReadableError(
                        Fault(
                            self.file,
                            event.start_mark.line + 1 if event.start_mark else 0,
                            "",
                            f"is more than {MOST_DEPTH} levels deep",
                        )
                    )
        except yaml.YAMLError as error:
            raise NotReadableError(self._unreadable(error)) from None

    def _unreadable(self, error: Exception) -> Fault:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        if "expected a single document" in str(error):
            return Fault(self.file, line, "", "contains several documents", "one contract is one YAML document")
        if isinstance(error, yaml.constructor.ConstructorError):
            return Fault(
                self.file, line, "", "has a part with a custom type (`!`), which is not read", "write plain values"
            )
        written = self.text.splitlines()[line - 1 : line]
        tab = (
            "tabs can't be used for indentation"
            if written and written[0].lstrip(" ").startswith("\t")
            else "a bracket, a quote or an indentation is wrong"
        )
        return Fault(
            self.file,
            line,
            "",
            "is not valid YAML from here on",
            f"look here and at the lines before: {tab}" if line else "",
        )

    def line(self, path: Path) -> int:
        """Line of the part, or of the nearest existing part above it."""
        try:
            node, line = self._node, 1
        except NotReadableError:
            return 0  # JSON that YAML can't read
        for part in path:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == part), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line

    def place(self, path: Path) -> str:
        """The path for users: parts with a name are shown by it."""
        try:
            return _place(self._node, path)
        except NotReadableError:
            return ".".join(map(str, path))

    def fault(self, path: Path, says: str, fix: str = "") -> Fault:
        """A fault at a place."""
        return Fault(self.file, self.line(path), self.place(path), says, fix)


def _place(node: yaml.Node | None, path: Path) -> str:
    said = list[str]()
    for part in path:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
            if part not in ("schema", "properties"):
                said.append(str(part))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part] if part < len(node.value) else None
            name = _name(node)
            if name:
                said.append(name)
            elif said:
                said[-1] += f"[{part}]"
            else:
                said.append(f"[{part}]")
        else:
            said.append(str(part))
    return ".".join(said)


def _name(node: yaml.Node | None) -> str:
    """The key that names the items of the standard's lists."""
    if isinstance(node, yaml.MappingNode):
        known = {key.value: value.value for key, value in node.value if isinstance(value, yaml.ScalarNode)}
        return str(known.get("name") or known.get("property") or known.get("server") or "")
    return ""


def _size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Number of parts of a document with its aliases expanded; a few lines of them can stand for billions."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_PARTS  # one that contains itself never ends
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _twice(node: yaml.Node | None, path: Path = ()) -> Iterator[tuple[Path, yaml.Node]]:
    """Duplicate keys of a mapping; YAML's own loader silently takes the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TEXT, _MERGE):
                yield path, key
            else:
                if key.value in seen and key.value != "<<":
                    yield path, key
                seen.add(key.value)
                yield from _twice(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _twice(item, (*path, place))
