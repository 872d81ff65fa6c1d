"""Lineage as a graph: which runs of steps read and wrote which datasets, from the events that were kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.context import Context
from pipelines.lineage.places import COMPLETE, EVENTS, MODEL, Place, step_of
from spec.errors import GroundplanError

_DOWNSTREAM = ("deploy", "monitor")


@dataclass(frozen=True)
class Ran:
    """A run of a step that has ended well.

    Attributes:
        at: When it ended.
        pipeline_run: The run of the pipeline.
        facets: Of the run, by name.
    """

    run_id: str
    step: str
    pipeline_run: str
    at: str
    facets: dict[str, Any]


@dataclass
class Graph:
    """Datasets and runs.

    Attributes:
        datasets: Facets of each, from everything that was told about it.
        reads, writes: Of each run.
    """

    runs: dict[str, Ran] = field(default_factory=dict)
    datasets: dict[Place, dict[str, Any]] = field(default_factory=dict)
    reads: dict[str, list[Place]] = field(default_factory=dict)
    writes: dict[str, list[Place]] = field(default_factory=dict)

    def add(self, event: dict[str, Any], pipeline_run: str) -> None:
        """Add what an event says, if it says that a step has ended well."""
        if event.get("eventType") != COMPLETE:
            return
        run_id = event["run"]["runId"]
        step = event["job"]["name"].rpartition(".")[2]
        self.runs[run_id] = Ran(run_id, step, pipeline_run, event["eventTime"], event["run"].get("facets", {}))
        for side, places in (("inputs", self.reads), ("outputs", self.writes)):
            places[run_id] = [self._dataset(each) for each in event.get(side, ())]

    def _dataset(self, told: dict[str, Any]) -> Place:
        place = Place(told["namespace"], told["name"])
        known = self.datasets.setdefault(place, {})
        for kind in ("facets", "inputFacets", "outputFacets"):
            known.update(told.get(kind) or {})
        return place

    def writers(self, place: Place) -> list[Ran]:
        """Runs that wrote a dataset, the newest first."""
        found = [self.runs[run_id] for run_id, places in self.writes.items() if place in places]
        return sorted(found, key=lambda ran: ran.at, reverse=True)

    def upstream(self, place: Place) -> Graph:
        """What led to a dataset."""
        found, wanted = Graph(), [place]
        while wanted:
            one = wanted.pop()
            if one in found.datasets:
                continue
            found.datasets[one] = self.datasets.get(one, {})
            for ran in self.writers(one):
                found._take(self, ran)
                wanted += self.reads[ran.run_id]
        return found

    def with_what_followed(self, whole: Graph, place: Place) -> Graph:
        """The same, with the runs that read a dataset, and what they wrote."""
        for run_id, places in whole.reads.items():
            if place in places:
                self._take(whole, whole.runs[run_id])
                for other in (*whole.reads[run_id], *whole.writes[run_id]):
                    self.datasets.setdefault(other, whole.datasets[other])
        return self

    def _take(self, other: Graph, ran: Ran) -> None:
        self.runs[ran.run_id] = ran
        self.reads[ran.run_id], self.writes[ran.run_id] = other.reads[ran.run_id], other.writes[ran.run_id]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "datasets": [
                {"namespace": place.namespace, "name": place.name, "facets": about}
                for place, about in self.datasets.items()
            ],
            "runs": [
                {
                    "runId": ran.run_id,
                    "step": ran.step,
                    "pipeline_run": ran.pipeline_run,
                    "at": ran.at,
                    "facets": ran.facets,
                    "inputs": [vars(place) for place in self.reads[ran.run_id]],
                    "outputs": [vars(place) for place in self.writes[ran.run_id]],
                }
                for ran in sorted(self.runs.values(), key=lambda ran: ran.at)
            ],
        }

    def dot(self) -> str:
        """For Graphviz (https://graphviz.org/doc/info/lang.html)."""
        lines = ["digraph lineage {", "  rankdir=LR;", "  node [fontname=Helvetica, fontsize=10];"]
        for place in self.datasets:
            label = json.dumps(f"{place.namespace}\n{place.name}")
            lines.append(f"  {json.dumps(str(place))} [shape=box, label={label}];")
        for ran in self.runs.values():
            lines.append(f'  "{ran.run_id}" [shape=ellipse, label={json.dumps(f"{ran.step} {ran.at[:19]}")}];')
            lines += [f'  {json.dumps(str(place))} -> "{ran.run_id}";' for place in self.reads[ran.run_id]]
            lines += [f'  "{ran.run_id}" -> {json.dumps(str(place))};' for place in self.writes[ran.run_id]]
        return "\n".join([*lines, "}"])


def read(context: Context, pipeline_run: str, *, followed: bool = True) -> Graph:
    """What was kept of one run of the model's pipeline.

    Args:
        followed: Also, of deployments and monitoring in later runs.
    """
    graph, begin = Graph(), f"{EVENTS}{context.model}/"
    of_run = f"{begin}{pipeline_run}/"
    for key in context.keys("curated", begin if followed else of_run):
        step, kind = step_of(key)
        if kind == COMPLETE and (key.startswith(of_run) or step in _DOWNSTREAM):
            _add(context, graph, key)
    return graph


def features_at(context: Context, at: datetime) -> Graph:
    """The run of the features step that had filled the online store last at a moment."""
    graph = Graph()
    filled = (
        item
        for item in context.objects("curated", f"{EVENTS}{context.model}/")
        if step_of(item["Key"]) == ("features", COMPLETE) and item["LastModified"] <= at
    )
    if found := max(filled, key=lambda item: item["LastModified"], default=None):
        _add(context, graph, found["Key"])
    return graph


def _add(context: Context, graph: Graph, key: str) -> None:
    body = context.read("curated", key)
    if body is not None:
        graph.add(json.loads(body), key.split("/")[-2])


def of_version(context: Context, version: str, whole: Graph) -> tuple[Graph, Place]:
    """What led to a version, and what became of it; and the version's own dataset.

    Args:
        whole: Of the run that registered it.

    Raises:
        GroundplanError: Nothing was kept about it.
    """
    own = [
        place
        for place, about in whole.datasets.items()
        if (told := about.get(MODEL)) and (told["model"], told["version"]) == (context.model, version)
    ]
    if not own:
        raise GroundplanError(
            f"no lineage was kept of {context.model} {version}",
            where="lineage",
            fix="it was registered in another environment, or by a release that kept none; `groundplan audit show"
            f" {context.model}` says what is known",
        )
    return whole.upstream(own[0]).with_what_followed(whole, own[0]), own[0]
