"""Grafana's dashboards in the cluster: the platform, the models that it serves with their error budgets, and
CloudWatch's own of endpoints, models and cost.

Built with Grafana's own types (https://grafana.github.io/grafana-foundation-sdk/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from grafana_foundation_sdk.builders import cloudwatch, prometheus, timeseries
from grafana_foundation_sdk.builders import dashboard as made
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.cloudwatch import CloudWatchQueryMode, MetricEditorMode, MetricQueryType
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from components.operations.rules import RECORDED, REMAINING
from spec.on_cluster import SERVICE_LABEL
from spec.service_levels import BAD_SHARE, ServiceLevel, percent, window_name

_UNITS = {"ratio": "percentunit", "rate5m": "reqps", "ms": "ms", "count": "short"}
CLOUDWATCH = "cloudwatch"
_SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
_WIDTH, _HEIGHT = 12, 8  # in Grafana's grid of 24 columns


def dashboards(
    stack: str, levels: dict[str, tuple[ServiceLevel, ...]], boards: Mapping[str, dict[str, Any]]
) -> dict[str, str]:
    """JSON models by file name, for Grafana's sidecar.

    Args:
        levels: Service levels by model, of those that the cluster serves or trains.
        boards: Bodies of CloudWatch's dashboards by name.
    """
    platform = _dashboard("platform", f"Platform {stack}")
    for name in RECORDED:
        platform.with_panel(_panel(name.replace(":", " "), _UNITS[name.rpartition(":")[2]], [(name, "")]))
    found = {"platform.json": platform}
    if any(levels.values()):
        found["service-levels.json"] = served = _dashboard("service-levels", f"Service levels {stack}")
        for model, of in levels.items():
            if of:
                served.with_row(made.Row(model))
            for level in of:
                _level(served, model, level)
    for kind, body in boards.items():
        found[f"cloudwatch-{kind}.json"] = board = _dashboard(f"cloudwatch-{kind}", f"{kind.title()} {stack}")
        board.time("now-30d", "now")
        for widget in body["widgets"]:
            board.with_panel(_of_widget(widget["properties"]))
    return {name: JSONEncoder(sort_keys=True, indent=1).encode(each.build()) for name, each in found.items()}


def _level(board: made.Dashboard, model: str, level: ServiceLevel) -> None:
    of = f'{{model="{model}",service_level="{level.name}"}}'
    minutes = sorted({length for burn in level.burns for length in (burn.short_minutes, burn.long_minutes)})
    windows = [f"{BAD_SHARE}{window_name(length)}" for length in minutes]
    board.with_panel(
        _panel(
            f"{level.name}: share of bad events ({percent(1 - level.target)} allowed)",
            "percentunit",
            [(f"{name}{of}", name.removeprefix(BAD_SHARE)) for name in windows],
        )
    )
    board.with_panel(_panel(f"{level.name}: error budget left", "percentunit", [(f"{REMAINING}{of}", "30d")]))
    if level.name == "latency":
        series = [(f'{name}{{{SERVICE_LABEL}="{model}-predictor"}}', name) for name in ("model:latency_p95:ms",)]
        board.with_panel(_panel(f"latency p95 ({level.limit:g} ms promised)", "ms", series))


def _of_widget(shown: dict[str, Any]) -> timeseries.Panel:
    """A drawing of CloudWatch's, as one of Grafana's."""
    source = DataSourceRef(type_val="cloudwatch", uid=CLOUDWATCH)
    panel = timeseries.Panel().title(shown["title"]).span(_WIDTH).height(_HEIGHT).datasource(source)
    for place, metric in enumerate(shown["metrics"]):
        namespace, name, *rest = [part for part in metric if isinstance(part, str)]
        options = metric[-1] if isinstance(metric[-1], dict) else {}
        panel.with_target(
            cloudwatch.CloudWatchMetricsQuery()
            .query_mode(CloudWatchQueryMode.METRICS)
            .metric_query_type(MetricQueryType.SEARCH)
            .metric_editor_mode(MetricEditorMode.BUILDER)
            .region(shown["region"])
            .namespace(namespace)
            .metric_name(name)
            .dimensions(dict(zip(rest[::2], rest[1::2], strict=True)))
            .match_exact(True)
            .statistic(shown["stat"])
            .period(str(shown["period"]))
            .label(options.get("label", name))
            .id("")
            .expression("")
            .ref_id(chr(ord("A") + place))
        )
    return panel


def _dashboard(uid: str, title: str) -> made.Dashboard:
    return made.Dashboard(title).uid(uid).refresh("1m").time("now-6h", "now").timezone("browser").tags(["groundplan"])


def _panel(title: str, unit: str, series: Iterable[tuple[str, str]]) -> timeseries.Panel:
    legend = (
        VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .calcs([])
    )
    panel = timeseries.Panel().title(title).unit(unit).span(_WIDTH).height(_HEIGHT).datasource(_SOURCE).legend(legend)
    for place, (expression, label) in enumerate(series):
        panel.with_target(
            prometheus.Dataquery().expr(expression).legend_format(label or "__auto").ref_id(chr(ord("A") + place))
        )
    return panel
