"""The resources of a stack as controls see them, and which resource is about which.

A bucket's settings, a VPC's flow log, an endpoint's alarm are resources of their own. What one of them is about is told
by the engine, which notes for each input the resources that it comes from; and by the name or ARN that the input holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UnknownValueError

Props = Mapping[str, Any]
_IDENTIFIERS = ("id", "arn", "name", "bucket", "identifier", "clusterIdentifier", "topicName")


@dataclass(frozen=True)
class Item:
    """A resource of a stack.

    Attributes:
        type: Its canonical one.
        protect: Whether the engine refuses to delete it.
        references: By input, the URNs of the resources that the input comes from.
        region: In which it is, as far as that is known; empty for the stack's own.
    """

    type: str
    name: str
    urn: str
    props: Props
    protect: bool = False
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    region: str = ""


class Stack:
    """The resources of a stack."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        self._by_urn = {item.urn: item for item in self.items}
        self._by_type: dict[str, list[Item]] = {}
        for item in self.items:
            self._by_type.setdefault(item.type, []).append(item)
        self._companions: dict[tuple[str, str, str], dict[str, list[Item]]] = {}
        self._by_identifier: dict[tuple[str, ...], dict[str, list[Item]]] = {}

    def name(self, urn: str) -> str:
        """Name of a resource; empty where there is none of that URN."""
        return self._by_urn[urn].name if urn in self._by_urn else ""

    def of(self, *types: str) -> Iterator[Item]:
        """The resources of some types."""
        for kind in types:
            yield from self._by_type.get(kind, ())

    def beside(self, item: Item, kind: str) -> Iterator[Item]:
        """The resources of a type that are settings of the account in the same region."""
        return (other for other in self.of(kind) if other.region == item.region)

    def about(self, item: Item, key: str, *types: str) -> list[Item]:
        """The resources of some types that an input names: those whose name or ARN it holds, else those it comes
        from, if need be by way of others (``bucket=block.bucket``).

        Args:
            key: Input, dotted where it is nested, for example ``dimensions.EndpointName``.
        """
        identified = self._identified(types)
        found = [target for text in _texts(item.props, key) for target in identified.get(text, ())]
        return found or self._sources(item, key.partition(".")[0], types, {item.urn})

    def companions(self, item: Item, kind: str, key: str) -> list[Item]:
        """The resources of a type that are about one resource, by their input ``key``."""
        place = (kind, key, item.type)
        if place not in self._companions:
            found = self._companions[place] = dict[str, list[Item]]()
            for companion in self.of(kind):
                for target in self.about(companion, key, item.type):
                    found.setdefault(target.urn, []).append(companion)
        return self._companions[place].get(item.urn, [])

    def mentioned(self, item: Item, inputs: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether an input of another resource comes from this one, or has its name or ARN in a text.

        Args:
            inputs: Those that count, by the other's type.
        """
        names = {text for key in _IDENTIFIERS for text in _texts(item.props, key)}
        wanted = (
            re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names))) if names else None
        )
        for other in self.of(*inputs):
            for key in inputs[other.type] if other.urn != item.urn else ():
                if item.urn in other.references.get(key, ()):
                    return True
                if wanted is not None and any(wanted.search(text) for text in _all_texts(known(other.props, key))):
                    return True
        return False

    def _sources(self, item: Item, key: str, types: tuple[str, ...], seen: set[str]) -> list[Item]:
        found = []
        for urn in item.references.get(key, ()):
            source = self._by_urn.get(urn)
            if source is None or urn in seen:
                continue
            seen.add(urn)
            found += [source] if source.type in types else self._sources(source, key, types, seen)
        return found

    def _identified(self, types: tuple[str, ...]) -> dict[str, list[Item]]:
        if types not in self._by_identifier:
            found = self._by_identifier[types] = dict[str, list[Item]]()
            for item in self.of(*types):
                for text in {text for key in _IDENTIFIERS for text in _texts(item.props, key)}:
                    found.setdefault(text, []).append(item)
        return self._by_identifier[types]


def _texts(props: Any, path: str) -> set[str]:
    """The known texts at a path: one, or those of a list."""
    *parents, last = path.split(".")
    try:
        for part in parents:
            props = props[part] if isinstance(props, Mapping) and part in props else {}
        value = props[last] if isinstance(props, Mapping) and last in props else None
    except UnknownValueError:
        return set()
    if isinstance(value, str):
        return {value} if value else set()
    if value is None or isinstance(value, (bool, int, float, Mapping)):
        return set()
    found = set()
    for index in range(len(value)):
        try:
            found.add(str(value[index]))
        except UnknownValueError:
            continue
    return found


def known(props: Props, key: str) -> Any:
    """An input; None where it is not given, or can't be known before a deployment."""
    try:
        return props.get(key)
    except UnknownValueError:
        return None


def _all_texts(value: Any) -> Iterator[str]:
    """Every known text, however deep."""
    if isinstance(value, str):
        yield value
        return
    if value is None or isinstance(value, (bool, int, float)):
        return
    for key in value if isinstance(value, Mapping) else range(len(value)):
        try:
            inner = value[key]
        except UnknownValueError:
            continue
        yield from _all_texts(inner)


class UndecidedError(UnknownValueError):
    """A control could not decide about some resources, since it needs values that only a deployment can tell; what it
    could decide about the others has been reported.

    Args:
        found: URN and missing input of each.
    """

    def __init__(self, found: list[tuple[str, str]]) -> None:
        super().__init__(UNKNOWN_OBJECT_VALUE, [])
        self.found = found
        self.message = "; ".join(f"{path or 'its inputs'} of {urn}" for urn, path in found) + " can't be known"
