"""Planned objectives: defined, designed and built, but refused until they keep their promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spec.objectives.model import Availability, FeatureStore, Target


@dataclass(frozen=True)
class Planned:
    """An objective that is defined, designed and built, but does not keep its promise yet.

    Args:
        path: Below ``groundplan:objectives``; ``*`` stands for every model.
        why: What exists, and what is missing.
        instead: What to use today.
    """

    path: tuple[str, ...]
    value: str | bool
    why: str
    instead: str


PLANNED = (
    Planned(
        ("availability",),
        Availability.TWO_REGIONS.value,
        "two-regions is planned: keys, data and tables are copied to the second region, but nothing serves from"
        " there yet",
        "multi-zone",
    ),
    Planned(
        ("feature_store",),
        FeatureStore.SAGEMAKER.value,
        "sagemaker is planned: Feature Groups are created, but no pipeline step or server reads them yet",
        "feast",
    ),
    Planned(
        ("models", "*", "gpu"),
        True,
        "gpu is planned: Triton serves the model from the cluster, but its requests are not captured, so quality"
        " and drift are not watched yet",
        "false",
    ),
    Planned(
        ("models", "*", "target"),
        Target.EDGE.value,
        "edge is planned: devices may fetch the published model, but their requests are not captured, so quality"
        " and drift are not watched yet",
        "cloud",
    ),
)


def planned_in(document: Any, path: tuple[str, ...], at: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Places in a document that a path with stars matches, each with its value."""
    if not path:
        return [(".".join(at), document)]
    names = list(document) if path[0] == "*" else [path[0]]
    return [found for name in names for found in planned_in(document[name], path[1:], (*at, name))]
