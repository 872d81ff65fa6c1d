"""Objectives that are planned: written down, designed and built, and refused until they keep their promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spec.objectives.model import Availability, FeatureStore, Target


@dataclass(frozen=True)
class Planned:
    """What can be written down, is designed and built, and does not keep its promise yet.

    Args:
        path: Below ``groundplan:objectives``; ``*`` stands for every model.
        why: What is there, and what is not.
        instead: What to write today.
    """

    path: tuple[str, ...]
    value: str | bool
    why: str
    instead: str


PLANNED = (
    Planned(
        ("availability",),
        Availability.TWO_REGIONS.value,
        "two-regions is planned: keys, data and tables are copied to the second region, and nothing serves from"
        " there yet",
        "multi-zone",
    ),
    Planned(
        ("feature_store",),
        FeatureStore.SAGEMAKER.value,
        "sagemaker is planned: Feature Groups are created, and no pipeline step or server reads them yet",
        "feast",
    ),
    Planned(
        ("models", "*", "gpu"),
        True,
        "gpu is planned: Triton serves the model from the cluster, and nothing captures what it is asked, so quality"
        " and drift are not watched yet",
        "false",
    ),
    Planned(
        ("models", "*", "target"),
        Target.EDGE.value,
        "edge is planned: devices may fetch the published model, and nothing tells what it is asked there, so quality"
        " and drift are not watched yet",
        "cloud",
    ),
)


def planned_in(document: Any, path: tuple[str, ...], at: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Places that a path with stars names in a document, each with what stands there."""
    if not path:
        return [(".".join(at), document)]
    names = list(document) if path[0] == "*" else [path[0]]
    return [found for name in names for found in planned_in(document[name], path[1:], (*at, name))]
