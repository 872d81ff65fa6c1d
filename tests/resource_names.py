"""The names of the stacks' resources: a changed name here is a deletion and a new resource in a user's account.

``python -m tests.resource_names`` writes the lists again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from groundplan.engine.preview import UNKNOWN, Previewed, preview
from tests.conftest import ROOT, everything

FOLDER = Path(__file__).parent / "golden"
STACKS = ("local", "dev", "staging", "prod", "everything")
# Another value replaces the resource.
_PHYSICAL = ("bucket", "name", "clusterName", "identifier", "functionName", "domainName", "dashboardName", "alarmName")


def names(resources: Iterable[Previewed]) -> list[str]:
    """URN without project and stack, and the name that the cloud knows, where the program gives one; sorted."""
    return sorted(" ".join([item.urn.split("::", 2)[2], *_physical(item)]) for item in resources)


def _physical(item: Previewed) -> Iterator[str]:
    for key in _PHYSICAL:
        value = item.inputs.get(key)
        if isinstance(value, str) and UNKNOWN not in value:
            yield f"{key}={value}"


def recorded(stack: str) -> list[str]:
    """The names on record."""
    return (FOLDER / f"names-{stack}.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    for stack in STACKS:
        found = preview(ROOT, "prod", config=everything()) if stack == "everything" else preview(ROOT, stack)
        (FOLDER / f"names-{stack}.txt").write_text("".join(f"{line}\n" for line in names(found)), encoding="utf-8")
