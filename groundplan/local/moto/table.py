"""Which resource types the local cloud makes for real, as a page: ``python -m groundplan.local.moto.table >
docs/resource-types.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from groundplan.engine.preview import preview
from groundplan.local.moto.rules import RULES, rule_for
from groundplan.local.provider.replacing import never_changed

_HEADER = """\
# Resource types: made for real, or recorded
Made by `make docs`; changes are lost.

What `groundplan up` does with each type of resource that the program uses. **made**: created in the local AWS API
(moto), the Kafka broker, or written as a validated Kubernetes manifest, and there for any client. **recorded**: the
local cloud has no API for it; its inputs are kept and listed by `groundplan status`, nothing pretends that it exists.
On AWS every one of them is made.

| type | stacks | locally |
|---|---|---|
"""


def page(root: Path) -> str:
    """The page, from previews of every stack."""
    stacks = sorted(path.name.split(".")[1] for path in (root / "stacks").glob("Pulumi.*.yaml"))
    used: dict[str, list[str]] = {}
    for stack in stacks:
        for type_ in {item.type for item in preview(root, stack) if item.custom}:
            used.setdefault(type_, []).append(stack)
    for type_ in RULES:
        used.setdefault(type_, [])
    rows = []
    for type_, where in sorted(used.items()):
        if type_.startswith("pulumi:"):
            continue  # a provider, no resource of the cloud
        made = (
            "recorded" if rule_for(type_) is None else "made (manifest)" if type_.startswith("kubernetes:") else "made"
        )
        shown = "all" if where == stacks else ", ".join(where) or "where objectives ask for it"
        rows.append(f"| `{type_}` | {shown} | {made} |")
    counts = {
        kind: sum(row.endswith(f"| {kind} |") for row in rows) for kind in ("made", "made (manifest)", "recorded")
    }
    summary = (
        f"\n{counts['made']} types are made, {counts['made (manifest)']} written as manifests, {counts['recorded']}"
        " recorded.\n"
    )
    silent = ", ".join(
        f"`{type_}`" for type_ in sorted(used) if type_.startswith("aws:") and never_changed(type_) is None
    )
    told = (
        "\nUnder `groundplan provider`, a change of these is always one in place, since nobody tells what is not:"
        f" {silent}.\n"
    )
    return _HEADER + "\n".join(rows) + "\n" + summary + told


if __name__ == "__main__":
    sys.stdout.write(page(Path.cwd()))
