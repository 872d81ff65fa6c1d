"""How a canary is judged: what happens to requests while they come in, and quality, KPI and slices on labelled rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.canary.evidence import (
    ERROR_LIMIT,
    SLICES,
    SLOW_LIMIT,
    Finding,
    Outcome,
    Rate,
    Split,
    events,
    mean_loss,
    slices,
)
from pipelines.serving.models.engines import class_name, class_names
from pipelines.steps.endpoint import CHALLENGER, CHAMPION, Answer
from pipelines.steps.hosting import Hosting
from pipelines.training.labelled import Labelled, each_row
from pipelines.training.slices import large_enough, slices_of
from spec.objectives import ModelObjectives

MOST_REQUESTS = 5_000  # that are sent before the evidence is what it is
LEAST_REQUESTS = 100  # of each version at each step, before the new one is called good enough
LOOK_EVERY = 25  # requests
OWN_SHARE = 0.5  # of the pipeline's own requests, that the challenger gets


@dataclass
class Observed:
    """The canary's observations of one variant."""

    requests: int = 0
    errors: int = 0
    answered: int = 0
    slow: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, answer: Answer, latency_ms: float) -> None:
        """Count one answer.

        Args:
            latency_ms: What the objectives allow.
        """
        self.requests += 1
        if answer.failed:
            self.errors += 1
        else:
            self.answered += 1
            self.latencies_ms.append(answer.latency_ms)
            self.slow += answer.latency_ms > latency_ms

    @property
    def failed(self) -> Rate:
        """How many requests failed."""
        return Rate(self.requests, self.errors)

    @property
    def late(self) -> Rate:
        """How many answers were too slow."""
        return Rate(self.answered, self.slow)

    @property
    def p95_ms(self) -> float:
        """95th percentile of the latency, ms; 0 without answers."""
        ordered = sorted(self.latencies_ms)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0

    def counts(self) -> list[int]:
        """What a canary that goes on after an interruption must know."""
        return [self.requests, self.errors, self.answered, self.slow]

    def summary(self) -> dict[str, float]:
        """For the result document."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "p95_ms": round(self.p95_ms, 2),
        }


@dataclass(frozen=True)
class Answered:
    """Labelled rows, and one version's predictions of them."""

    rows: Labelled
    predictions: list[Any]


# What the mean of a metric's losses is, in words.
ERROR_OF = {
    "mae": "absolute error",
    "rmse": "squared error",
    "accuracy": "error rate",
    "balanced_accuracy": "balanced error rate",
    "correct_warnings": "share of missed warnings",
}


@dataclass(frozen=True)
class Loss:
    """The loss of one prediction in terms of a metric; for several targets the mean over them.

    Attributes:
        metric: One of ``ERROR_OF``.
        weights: Weight of each class, where every class has the same weight (``balanced_accuracy``); their mean over
            the rows is 1.
        scales: Standard deviation of each of several numeric targets, which may have different magnitudes.
        positive: The class that is warned of.
    """

    metric: str
    weights: dict[str, float] = field(default_factory=dict)
    scales: tuple[float, ...] = ()
    positive: str = ""

    @classmethod
    def of(cls, metric: str, task: str, rows: Labelled, classes: list[Any]) -> Loss | None:
        """The loss that fits a metric; None where the metric is no mean over rows (``roc_auc``)."""
        labels = rows.labels
        if metric not in ERROR_OF:
            return None
        if hasattr(labels, "columns"):
            numbers = task == "regression"
            spread = labels.astype(float).std(ddof=0).replace(0, 1) if numbers else (1.0,) * len(labels.columns)
            return cls(metric, {}, tuple(spread))
        if metric == "correct_warnings":
            return cls(metric, positive=class_name(classes[1]))
        if metric != "balanced_accuracy":
            return cls(metric)
        counts = Counter(class_names(labels).tolist())
        return cls(metric, {name: len(labels) / (len(counts) * count) for name, count in counts.items()})

    def __call__(self, predicted: Any, label: Any) -> float:
        """The loss of one row."""
        if isinstance(label, list):
            one = Loss(self.metric)
            parts = [
                one(guess, known) / scale for guess, known, scale in zip(predicted, label, self.scales, strict=True)
            ]
            return sum(parts) / len(parts)
        if self.metric in ("mae", "rmse"):
            error = abs(float(predicted) - float(label))
            return error * error if self.metric == "rmse" else error
        right, name = class_name(predicted) == class_name(label), class_name(label)
        if self.metric == "correct_warnings":
            return float(name == self.positive and not right)
        return 0.0 if right else self.weights.get(name, 1.0)

    def each(self, predictions: list[Any], rows: Labelled) -> list[float]:
        """The loss of each row."""
        return [self(guess, label) for guess, label in zip(predictions, each_row(rows.labels), strict=True)]


@dataclass(frozen=True)
class Judgement:
    """What the evidence says of a challenger.

    Attributes:
        outcome: ``WORSE`` if one metric is, ``GOOD`` if every required one is shown to be good enough.
    """

    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        """Of all metrics together."""
        if any(each.outcome is Outcome.WORSE for each in self.findings):
            return Outcome.WORSE
        required = [each for each in self.findings if each.required]
        return Outcome.GOOD if all(each.outcome is Outcome.GOOD for each in required) else Outcome.OPEN

    @property
    def says(self) -> str:
        """The findings that decided, as a sentence."""
        if self.outcome is Outcome.GOOD:
            return "; ".join(each.says for each in self.findings if each.metric != SLICES)
        decided = [each for each in self.findings if each.outcome is self.outcome]
        return "; ".join(each.says for each in decided if each.required or each.outcome is Outcome.WORSE)

    def document(self) -> list[dict[str, str]]:
        """For the result document."""
        return [{"metric": each.metric, "outcome": str(each.outcome), "says": each.says} for each in self.findings]


def requests_so_far(seen: dict[str, Observed], users: Sequence[Split] = (), *, alone: bool) -> list[Finding]:
    """Errors and latency; each of the pipeline's requests went to either variant with the same probability, or all to
    the challenger.

    Args:
        users: Failures of users' requests.
    """
    ours, theirs = seen[CHALLENGER], None if alone else seen[CHAMPION]
    share = 1.0 if alone else OWN_SHARE
    own = Split(ours.failed, theirs.failed if theirs else None, share)
    found = [events("errors", "failed", [own, *users], ERROR_LIMIT)]
    if ours.late.requests:
        late = Split(ours.late, theirs.late if theirs else None, share)
        found.append(events("latency", "were too slow", [late], SLOW_LIMIT))
    return found


def of_users(theirs: Answered, ours: Answered, metric: str, *, task: str, classes: list[Any]) -> Finding | None:
    """Quality on users' rows whose outcome is known; None where the metric is no mean over rows. It can only speak
    against a version: who asks, and whose outcome is known first, was not drawn by lot.
    """
    fit = Loss.of(metric, task, ours.rows, classes)
    if fit is None:
        return None
    one, two = (fit.each(each.predictions, each.rows) for each in (ours, theirs))
    what = f"{ERROR_OF[metric]} of users' rows"
    return mean_loss(what, one, two, rival="champion", paired=True, tolerance=0.0, required=False)


def quality(
    theirs: Answered,
    ours: Answered,
    objectives: ModelObjectives,
    declared: tuple[str, ...],
    *,
    task: str,
    classes: list[Any],
    rival: str = "champion",
) -> list[Finding]:
    """Quality, business KPI and slices on labelled rows that both have answered.

    Args:
        declared: Columns by whose values rows are divided, as in the model's card.
        rival: Who has given ``theirs``: the ``champion``, or the ``baseline`` where none serves yet.
    """
    tolerance, same = objectives.quality.may_lose, theirs.rows is ours.rows
    metrics = dict.fromkeys((objectives.quality.metric, objectives.value.kpi))
    found, losses = [], None
    for metric in metrics:
        fits = [Loss.of(metric, task, each.rows, classes) for each in (ours, theirs)]
        if fits[0] is None or fits[1] is None:
            continue
        pair = [fit.each(each.predictions, each.rows) for fit, each in zip(fits, (ours, theirs), strict=True) if fit]
        losses = losses or pair
        found.append(
            mean_loss(
                ERROR_OF[metric],
                *pair,
                rival=rival,
                paired=same,
                tolerance=tolerance,
                # Against a baseline nothing has to be shown: the evaluation has compared them.
                required=metric == objectives.quality.metric and rival == "champion",
            )
        )
    parts = list(large_enough(slices_of(ours.rows.features, declared))) if same and rival == "champion" else []
    if parts and losses:
        found.append(
            slices(ERROR_OF[objectives.quality.metric], losses[0], losses[1], parts, rival=rival, tolerance=tolerance)
        )
    return found


def watch(
    endpoint: Hosting,
    rows: list[dict[str, Any]],
    seen: dict[str, Observed],
    latency_ms: float,
    *,
    alone: bool,
) -> None:
    """Send requests until errors and latency are decided, or no more are worth sending.

    The pipeline's own requests go to both variants in equal parts, whatever share of the traffic the challenger has: on
    5 % of it evidence would take twenty times as long.

    Args:
        seen: What was observed so far, of each variant; it is added to.
        latency_ms: What the objectives allow.
        alone: There is no champion: every request is for the challenger.
    """
    started = sum(each.requests for each in seen.values())
    coin = random.Random(started)  # noqa: S311 (no secret)
    for number in range(started, MOST_REQUESTS):
        variant = CHALLENGER if alone or coin.random() < OWN_SHARE else CHAMPION
        seen[variant].add(endpoint.ask(rows[number % len(rows)], variant), latency_ms)
        if number % LOOK_EVERY == LOOK_EVERY - 1:
            found = Judgement(tuple(requests_so_far(seen, alone=alone)))
            enough = number - started >= 2 * LEAST_REQUESTS
            if found.outcome is Outcome.WORSE or (found.outcome is Outcome.GOOD and enough):
                break
