"""What differs between two sets of inputs, by property path
(https://www.pulumi.com/docs/iac/concepts/property-paths/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Paths such as ``vpcConfig.subnetIds[0]``, with ``ADDED``, ``REMOVED`` or ``CHANGED``; keys that only providers
    use are left out.
    """
    return {path: kind for path, kind in _between(old, new, "") if not path.startswith("__")}


def carried(state: Mapping[str, Any], olds: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """A resource's state with new inputs: what the cloud had added to the old ones stays, also inside structures."""
    found = {key: value for key, value in state.items() if key not in olds}
    for key, value in news.items():
        whole, given = state.get(key), olds.get(key)
        added = (
            {inner: kept for inner, kept in whole.items() if inner not in given}
            if isinstance(whole, Mapping) and isinstance(given, Mapping)
            else {}
        )
        found[key] = {**added, **value} if added and isinstance(value, Mapping) else value
    return found


def _between(old: Any, new: Any, path: str) -> Iterator[tuple[str, str]]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            place = _key(path, key)
            if key not in new or (new[key] is None and old.get(key) is not None):
                yield place, REMOVED
            elif key not in old or (old[key] is None and new[key] is not None):
                yield place, ADDED
            else:
                yield from _between(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            place = f"{path}[{index}]"
            if index >= len(new):
                yield place, REMOVED
            elif index >= len(old):
                yield place, ADDED
            else:
                yield from _between(old[index], new[index], place)
    else:
        yield path, CHANGED


def _key(path: str, key: str) -> str:
    if not key.replace("_", "a").isalnum():
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key
