"""Names that a resource had before, by its aliases and those of its parents, computed as Pulumi's engine does.

https://www.pulumi.com/docs/iac/concepts/resources/options/aliases/
"""

from __future__ import annotations

from typing import Any

from groundplan.engine.program import engine_urn


class Aliases:
    """The former URNs of one run's resources."""

    def __init__(self) -> None:
        self._former: dict[str, list[str]] = {}

    def of(self, urn: str, request: Any) -> list[str]:
        """URNs that a resource may have had, each once.

        Args:
            request: ``RegisterResourceRequest``, its transforms applied; parents come before their children.
        """
        own = list(request.aliasURNs)
        for alias in request.aliases:
            spec = alias.spec
            parent = "" if spec.noParent else spec.parentUrn or request.parent
            own.append(alias.urn or engine_urn(parent, spec.type or request.type, spec.name or request.name))
        parents = self._former.get(request.parent, ())
        below = [_below(parent, request.parent, child) for parent in parents for child in (urn, *own)]
        self._former[urn] = list(dict.fromkeys([*own, *below]))
        return self._former[urn]


def _below(former: str, parent: str, child: str) -> str:
    """The URN of a child whose parent had another one: a child that is named after its parent was named after the
    parent's former name.
    """
    *_, chain, name = child.split("::")
    parent_name = parent.split("::")[-1]
    if name.startswith(parent_name):
        name = former.split("::")[-1] + name.removeprefix(parent_name)
    return engine_urn(former, chain.split("$")[-1], name)
