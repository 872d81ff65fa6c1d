"""What is measured, written into a stack file; everything else in it stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spec.errors import UsageError


def record(path: Path, place: tuple[str, ...], values: Mapping[str, float], by: str) -> None:
    """Set numbers in one of a stack file's mappings.

    Args:
        place: Keys of the mapping, below ``groundplan:objectives``.
        values: By name, in the order in which new ones are added.
        by: What measured them; a comment behind each new line says it.

    Raises:
        UsageError: The file does not have the mapping.
    """
    for name, value in values.items():
        text = path.read_text(encoding="utf-8")
        path.write_text(_with(text, _mapping(text, place, path), name, f"{value:.3g}", by), encoding="utf-8")


def _mapping(text: str, place: tuple[str, ...], path: Path) -> Any:
    import yaml

    node: Any = yaml.compose(text)
    for name in ("config", "groundplan:objectives", *place):
        found = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in found if key.value == name), None)
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise UsageError(f"has no {'.'.join(place)}", where=str(path))
    return node


def _with(text: str, node: Any, name: str, value: str, by: str) -> str:
    known = {key.value: of for key, of in node.value}
    if name in known:
        start, end = known[name].start_mark.index, known[name].end_mark.index
        return f"{text[:start]}{value}{text[end:]}"
    if node.flow_style:  # {every_hours: 24, within_minutes: 60}
        end = node.value[-1][1].end_mark.index
        return f"{text[:end]}, {name}: {value}{text[end:]}"
    first = node.value[0][0].start_mark
    line = first.index - first.column
    return f"{text[:line]}{' ' * first.column}{name}: {value} # measured by {by}\n{text[line:]}"
