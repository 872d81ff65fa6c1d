"""How a canary is judged: errors and latency of the endpoint, quality on held-out rows, and when one version is worse
than the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import class_name, class_names
from pipelines.serving.models.rows import Rows
from pipelines.steps.endpoint import CANARY, CHALLENGER, CHAMPION, Answer, EndpointClient
from pipelines.training.labelled import Labelled, as_columns, each_row
from spec.objectives import ModelObjectives

WANTED_REQUESTS = 20  # answers of the challenger before the two are compared
MOST_REQUESTS = 2_000
MARGIN = 0.10  # the challenger may be this much worse, relative, before it counts as worse


@dataclass
class Observed:
    """The canary's observations of one variant."""

    requests: int = 0
    errors: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # absolute error, or 1 for a wrong class, of each held-out row

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.requests += 1
        if answer.failed:
            self.errors += 1
        else:
            self.latencies_ms.append(answer.latency_ms)

    @property
    def p95_ms(self) -> float:
        """95th percentile of the latency, ms; 0 without answers."""
        ordered = sorted(self.latencies_ms)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0

    @property
    def loss(self) -> float:
        """Mean loss; 0 without answers."""
        return sum(self.losses) / len(self.losses) if self.losses else 0.0

    def summary(self) -> dict[str, float]:
        """For the result document."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "p95_ms": round(self.p95_ms, 2),
            "loss": round(self.loss, 6),
        }


@dataclass(frozen=True)
class Loss:
    """The loss of one prediction: the absolute error, or 1 for a wrong class; for several targets the mean over them.

    Attributes:
        weights: Weight of each class, where the objective gives every class the same weight (``balanced_accuracy``);
            their mean over the rows is 1.
        scales: Standard deviation of each of several numeric targets, which may have different magnitudes.
    """

    task: str
    weights: dict[str, float]
    scales: tuple[float, ...] = ()

    @classmethod
    def of(cls, objectives: ModelObjectives, task: str, labels: Any) -> Loss:
        """The loss that fits the model's quality objective."""
        if hasattr(labels, "columns"):
            return cls(
                task,
                {},
                (
                    tuple(labels.astype(float).std(ddof=0).replace(0, 1))
                    if task == "regression"
                    else (1.0,) * len(labels.columns)
                ),
            )
        if task == "regression" or objectives.quality.metric != "balanced_accuracy":
            return cls(task, {})
        counts = Counter(class_names(labels).tolist())
        return cls(task, {name: len(labels) / (len(counts) * count) for name, count in counts.items()})

    def __call__(self, predicted: Any, label: Any) -> float:
        """The loss of one row."""
        if isinstance(label, list):
            one = Loss(self.task, {})
            parts = [
                one(guess, known) / scale for guess, known, scale in zip(predicted, label, self.scales, strict=True)
            ]
            return sum(parts) / len(parts)
        if self.task == "regression":
            return abs(float(predicted) - float(label))
        return self.weights.get(class_name(label), 1.0) if class_name(predicted) != class_name(label) else 0.0


def compare(champion: Observed, challenger: Observed, objectives: ModelObjectives, rival: str = "champion") -> str:
    """Why the challenger must not be promoted; empty if it may.

    Args:
        rival: What it is compared with: the ``champion``, or the ``baseline`` where none serves yet.
    """
    if challenger.requests == 0:
        return "the challenger answered no request"
    if challenger.errors / challenger.requests > champion.errors / max(1, champion.requests):
        other = f" ({rival}: {champion.errors} of {champion.requests})" if champion.requests else ""
        return f"{challenger.errors} of {challenger.requests} requests failed{other}"
    if challenger.p95_ms > objectives.latency_ms:
        return f"p95 latency {challenger.p95_ms:.1f} ms is over the {objectives.latency_ms:g} ms of the objectives"
    if not challenger.loss <= champion.loss * (1 + MARGIN):  # a loss that is not a number also counts as worse
        return (
            f"on the same {len(challenger.losses)} rows its error is {challenger.loss:.4g}, the {rival}'s"
            f" {champion.loss:.4g}"
        )
    return ""


def verdict(seen: dict[str, Observed], rival: str) -> str:
    """The result of the comparison, where nothing speaks against the challenger."""
    ours, theirs = seen[CHALLENGER].loss, seen[CHAMPION].loss
    how = f"its error is {ours:.4g}, the {rival}'s {theirs:.4g}"
    known = "" if rival == "champion" else "; there was no champion to compare it with"
    verdict = "not worse than" if ours > theirs else "equal to" if ours == theirs else "better than"
    return f"{verdict} the {rival}: {how} on {len(seen[CHALLENGER].losses)} rows{known}"


def losses(model: Model, rows: Labelled, loss: Loss) -> list[float]:
    """The loss of each row, by a model that is called in this process."""
    predicted = model.answers(Rows.of(as_columns(rows.features, model.names))).predictions
    return [loss(guess, label) for guess, label in zip(predicted, each_row(rows.labels), strict=True)]


def watch(
    endpoint: EndpointClient,
    rows: list[dict[str, Any]],
    labels: list[Any],
    loss: Loss,
    *,
    alone: bool,
    theirs: Labelled | None = None,
) -> dict[str, Observed]:
    """Errors and latency from live traffic, and quality from held-out rows.

    Rows are sent to the endpoint one by one, and SageMaker chooses the variant, until the challenger has answered
    enough
    of them. Then both variants answer all of them: on the few rows of 5 % of the traffic, chance would decide.

    Args:
        alone: There is no champion: every request is for the challenger.
        theirs: Rows that the champion is judged on, where it takes other columns.
    """
    seen = {CHAMPION: Observed(), CHALLENGER: Observed()}
    for number in range(MOST_REQUESTS):
        answer = endpoint.ask(rows[number % len(rows)], CHALLENGER if alone else "")
        seen[answer.variant or CHALLENGER].add(answer)  # a failure without a variant counts against the new one
        if seen[CHALLENGER].requests >= WANTED_REQUESTS:
            break
    for variant, observed in seen.items():
        if (variant == CHAMPION and alone) or (variant == CHALLENGER and observed.errors == observed.requests):
            continue  # it answers nothing; the number of failures is the only result
        own = variant == CHAMPION and theirs is not None
        asked, wanted = (theirs.records(), each_row(theirs.labels)) if own and theirs is not None else (rows, labels)
        for predicted, label in zip(endpoint.predict(asked, variant, CANARY), wanted, strict=True):
            observed.losses.append(loss(predicted, label))
    return seen
