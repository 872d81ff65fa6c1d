"""CloudWatch's dashboards: the platform, its endpoints, the models, what they cost and earn.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.foundation.base import Scope
from components.models.endpoint import CHALLENGER, CHAMPION

PIPELINES = "AWS/Sagemaker/ModelBuildingPipeline"  # namespace of what SageMaker counts of them
PLATFORM, ENDPOINTS, MODELS, COST = "platform", "endpoints", "models", "cost"
_WIDTH, _HEIGHT, _PER_ROW = 8, 6, 3  # in CloudWatch's grid of 24 columns
_DAY_S = 86_400


@dataclass(frozen=True)
class Shown:
    """What is shown of a model.

    Args:
        endpoint: Empty for a model that is served elsewhere.
        latency_ms: Drawn as the limit.
    """

    endpoint: str
    quality_metric: str
    latency_ms: float


class _Body:
    """Widgets from left to right, row by row."""

    def __init__(self, region: str) -> None:
        self.widgets: list[dict[str, Any]] = []
        self._region = region

    def add(
        self, title: str, metrics: list[list[Any]], statistic: str, period: int = 300, limit: float | None = None
    ) -> None:
        """A drawing of metrics over time, each as ``[namespace, name, dimension, value, ..., options]``."""
        place = {
            "x": _WIDTH * (len(self.widgets) % _PER_ROW),
            "y": _HEIGHT * (len(self.widgets) // _PER_ROW),
            "width": _WIDTH,
            "height": _HEIGHT,
        }
        shown: dict[str, Any] = {
            "title": title,
            "metrics": metrics,
            "stat": statistic,
            "region": self._region,
            "period": period,
            "view": "timeSeries",
        }
        if limit is not None:
            shown["annotations"] = {"horizontal": [{"label": "promised", "value": limit}]}
        self.widgets.append({"type": "metric", **place, "properties": shown})

    def body(self) -> dict[str, Any]:
        """As PutDashboard takes it."""
        return {"widgets": self.widgets}


def dashboards(
    scope: Scope, models: Mapping[str, Shown], kafka_cluster: str, topics: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, Any]]:
    """The body of each dashboard, by its name."""
    own = f"Groundplan/{scope.stack}"
    found = {name: _Body(scope.region) for name in (PLATFORM, ENDPOINTS, MODELS, COST)}
    _stream(found[PLATFORM], own, kafka_cluster, topics)
    for model, shown in models.items():
        pipeline = [
            PIPELINES,
            "ExecutionSucceeded",
            "PipelineName",
            scope.name(model, limit=256),
        ]
        found[PLATFORM].add(
            f"{model}: trainings", [pipeline, [pipeline[0], "ExecutionFailed", *pipeline[2:]]], "Sum", _DAY_S
        )
        if shown.endpoint:
            _endpoint(found[ENDPOINTS], model, shown)
        _model(found[MODELS], own, model, shown)
        of = ["Model", model]
        found[COST].add(
            f"{model}: USD for a thousand predictions",
            [
                [own, "usd_per_thousand_predictions", *of, {"label": "cost"}],
                [own, "usd_earned_per_thousand_predictions", *of, {"label": "earned"}],
            ],
            "Average",
            _DAY_S,
        )
        found[COST].add(f"{model}: earned for each USD spent", [[own, "return_on_cost", *of]], "Average", _DAY_S, 1.0)
        found[COST].add(f"{model}: predictions in the monitor's window", [[own, "predictions", *of]], "Maximum", _DAY_S)
    if not found[ENDPOINTS].widgets:
        del found[ENDPOINTS]  # they are on the cluster, and in its Grafana
    return {name: body.body() for name, body in found.items() if body.widgets}


def _stream(body: _Body, own: str, kafka_cluster: str, topics: Mapping[str, tuple[str, ...]]) -> None:
    for topic, groups in topics.items():
        behind = [
            ["AWS/Kafka", "SumOffsetLag", "Cluster Name", kafka_cluster, "Consumer Group", group, "Topic", topic]
            for group in groups
        ]
        body.add(f"{topic}: events behind", behind, "Maximum")
    if topics:
        body.add("events set apart", [[own, name] for name in ("dead_letter_events", "quarantined_events")], "Sum")


def _endpoint(body: _Body, model: str, shown: Shown) -> None:
    def of(metric: str, **options: Any) -> list[list[Any]]:
        return [
            [
                "AWS/SageMaker",
                metric,
                "EndpointName",
                shown.endpoint,
                "VariantName",
                variant,
                {"label": variant, **options},
            ]
            for variant in (CHAMPION, CHALLENGER)
        ]

    # SageMaker reports microseconds.
    body.add(f"{model}: latency p95 (microseconds)", of("ModelLatency"), "p95", limit=shown.latency_ms * 1000)
    body.add(f"{model}: requests", of("Invocations"), "Sum")
    errors = [*of("Invocation5XXErrors"), *of("Invocation4XXErrors", yAxis="right")]
    body.add(f"{model}: errors (right: of callers)", errors, "Sum")


def _model(body: _Body, own: str, model: str, shown: Shown) -> None:
    of = ["Model", model]
    quality = [[own, shown.quality_metric, *of], [own, f"{shown.quality_metric}_estimated", *of]]
    body.add(f"{model}: quality", quality, "Average", _DAY_S)
    drift = [[own, name, *of] for name in ("drift_share", "prediction_drift", "unexpected_share", "concept_drift")]
    body.add(f"{model}: drift", drift, "Maximum", _DAY_S)
    body.add(f"{model}: groups", [[own, f"bias_{name}", *of] for name in ("DPPL", "RD", "AD")], "Maximum", _DAY_S)
    body.add(f"{model}: outcomes known", [[own, "outcomes", *of]], "Maximum", _DAY_S)
    body.add(f"{model}: hours since features were filled", [[own, "feature_age_hours", *of]], "Maximum", _DAY_S)
