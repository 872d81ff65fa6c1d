"""What a stack costs: the estimate, what is billed, what the month will have cost, what is saved, what is idle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from groundplan.local.auditing import reading
from groundplan.local.home import find_home
from groundplan.local.watching import CALLER
from infra.design import Design, design
from infra.design.bill import requests
from infra.design.price_book import PriceBook, load_prices
from infra.design.savings import savings
from pipelines.monitoring.cost_reports import by_report
from pipelines.monitoring.idle import Idle, idle
from pipelines.monitoring.service_levels import attained
from pipelines.monitoring.spending import LOOK_BACK_DAYS, Spent, by_cost_explorer, by_day, days_of_month, forecast
from spec.billing import product, reported
from spec.errors import UsageError
from spec.objectives import Objectives, load_config, parse
from spec.outputs import LOCAL, Outputs

LEAST_MEASURED_S = 3_600.0  # what the first minutes bring, such as a canary's own requests, is no load
_VALUES = ("usd_earned_per_thousand_predictions", "return_on_cost")


@dataclass(frozen=True)
class Asked:
    """How much a model was asked.

    Attributes:
        predictions: In the last 30 days, or since it is served.
        of_month: In this month.
        seconds: How long it is served, at most 30 days.
        counted: Whether predictions are counted at all.
    """

    predictions: float
    of_month: float
    seconds: float
    counted: bool


def costs(outputs: str, report: str, idle_days: float, now: datetime | None = None) -> dict[str, Any]:
    """The costs of the running platform, or of a stack whose outputs are named.

    Args:
        report: Cost-and-usage report that is read instead of Cost Explorer.
        idle_days: For how long what is idle must have been so.

    Raises:
        UsageError: The stack's objectives are not in this project, or the report can't be read.
    """
    now = now or datetime.now(UTC)
    today, root = now.date(), find_home().root
    with reading(outputs, CALLER) as context:
        of = context.outputs
        where = f"stacks/Pulumi.{of.stack}.yaml"
        wanted = parse(load_config(root, of.stack), where=where).objectives
        prices = load_prices(of.region)
        plan = design(wanted, prices, of.region, within_budget=False)
        _same_models(of, wanted, where)
        begin = min(today.replace(day=1), today - timedelta(days=LOOK_BACK_DAYS + 1))
        end, says = today + timedelta(days=1), ""
        if report:
            spent, says = by_report(report, of.project, of.stack, begin, end)
        else:
            spent = by_cost_explorer(of, begin, end)
        levels = {each["model"]: each for each in attained(of, now=now) if each["service_level"] == "availability"}
        asked = {name: _asked(of, name, levels.get(name), now) for name in of.models}
        known = _known_values(of, now)
        unused = [_unused(each, prices) for each in idle(of, idle_days, now)]
    month = _month(plan, wanted, prices, asked)
    # Elsewhere a day's bill is complete a day later.
    billed_to = today - timedelta(days=1 if of.stack == LOCAL else 2)
    budget = wanted.budget.monthly_usd
    expected = forecast(by_day(spent), today, billed_to, month, _whence(asked))
    this_month = [each for each in spent if each.day >= today.replace(day=1)]
    return {
        "stack": of.stack,
        "region": of.region,
        "as_of": now.isoformat(timespec="seconds"),
        "day_of_month": today.day,
        "days_of_month": days_of_month(today),
        "budget_usd": budget,
        "estimate_usd": round(plan.monthly_usd, 2),
        "at_measured_load_usd": round(month[0], 2),
        "spent_usd": round(sum(each.usd for each in this_month), 4),
        "source": report or ("the local cloud's meter" if of.stack == LOCAL else "Cost Explorer"),
        "report_says": says,
        "forecast": {**asdict(expected), "budget_share": expected.usd / budget},
        "services": _services(plan, this_month, _shares(wanted, asked), reported if report else str),
        "models": [_model(name, plan, wanted, this_month, asked[name], known.get(name, {})) for name in of.models],
        "savings": [asdict(saving) for saving in savings(wanted, plan, prices)],
        "idle": unused,
        "idle_days": idle_days,
        "dearest": _dearest(this_month),
        "prices": {"region": prices.region, "as_of": prices.as_of, "estimate": prices.estimate},
    }


def _same_models(of: Outputs, wanted: Objectives, where: str) -> None:
    if missing := sorted(set(of.models) - set(wanted.models)):
        raise UsageError(
            f"has no model {', '.join(missing)}, which the stack serves",
            where=where,
            fix="check out the revision that was deployed",
        )


def _whence(asked: dict[str, Asked]) -> str:
    served = max((each.seconds for each in asked.values() if each.counted), default=0.0)
    if served >= LEAST_MEASURED_S:
        load = f"the load measured over {_lasting(served)}"
    else:
        load = f"the planned load (measured for {_lasting(served)}, too short)" if served else "the planned load"
    return f"it rests on the design at {load}; the interval reaches from no requests to the peaks of the objectives"


def _lasting(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}s"
    return f"{seconds:,.0f} seconds"


def _asked(of: Outputs, name: str, level: dict[str, Any] | None, now: datetime) -> Asked:
    """By the service level of availability, which counts every request."""
    if level is None:
        return Asked(0, 0, 0, counted=False)
    days = {date.fromisoformat(day): counted[0] for day, counted in level["days"].items()}
    first = min(days, default=now.date())
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    if of.endpoints[name].name:
        import boto3

        created = boto3.client("sagemaker").describe_endpoint(EndpointName=of.endpoints[name].name)["CreationTime"]
        since = max(created.astimezone(UTC), now - timedelta(days=level["period_days"]))
    month = sum(events for day, events in days.items() if day >= now.date().replace(day=1))
    return Asked(level["events"], month, max((now - since).total_seconds(), 60.0), counted=True)


def _shares(wanted: Objectives, asked: dict[str, Asked]) -> dict[str, float]:
    """Each measured load as a share of the planned one, of models that are served long enough."""
    found = {}
    for name, each in asked.items():
        planned = wanted.models[name].requests_per_second.average
        if each.counted and planned and each.seconds >= LEAST_MEASURED_S:
            found[requests(name)] = each.predictions / each.seconds / planned
    return found


def _month(plan: Design, wanted: Objectives, prices: PriceBook, asked: dict[str, Asked]) -> tuple[float, float, float]:
    """USD of a whole month at the measured load, with no requests, and at the peaks of the objectives."""
    shares = _shares(wanted, asked)
    none = {requests(name): 0.0 for name in wanted.models}
    peaks = {
        requests(name): model.requests_per_second.peak / model.requests_per_second.average
        for name, model in wanted.models.items()
        if model.requests_per_second.average
    }
    more = sum(
        prices.hourly("sagemaker", serving.instance_type, max(0, serving.max_instances - 1 - serving.min_instances)).usd
        for serving in plan.serving.values()
        if serving.topology == "realtime"
    )
    usd, least, most = (sum(d.bill.with_load(load) for d in plan.decisions) for load in (shares, none, peaks))
    return usd, min(least, usd), max(most + more, usd)


def _services(
    plan: Design, spent: list[Spent], shares: dict[str, float], named: Callable[[str], str]
) -> list[dict[str, Any]]:
    """By AWS's names of its services."""
    estimated: defaultdict[str, float] = defaultdict(float)
    measured: defaultdict[str, float] = defaultdict(float)
    billed: defaultdict[str, float] = defaultdict(float)
    for decision in plan.decisions:
        for charge in decision.bill.charges:
            name = named(product(charge.service, charge.item)[1])
            estimated[name] += charge.usd
            measured[name] += charge.usd * shares.get(charge.grows_with, 1.0)
    for each in spent:
        billed[named(each.service) or "(no service)"] += each.usd
    names = sorted({*estimated, *billed}, key=lambda name: (-estimated[name], -billed[name], name))
    return [
        {
            "service": name,
            "estimate_usd": round(estimated[name], 2),
            "at_measured_load_usd": round(measured[name], 2),
            "spent_usd": round(billed[name], 4),
        }
        for name in names
        if abs(estimated[name]) >= 0.005 or abs(billed[name]) >= 0.00005
    ]


def _model(
    name: str, plan: Design, wanted: Objectives, spent: list[Spent], asked: Asked, known: dict[str, float]
) -> dict[str, Any]:
    """What one model costs and earns."""
    billed = sum(each.usd for each in spent if each.model == name)
    planned = wanted.models[name].requests_per_second.average * 86_400 * 30
    return {
        "model": name,
        "estimate_usd": round(plan.model_usd(name), 2),
        "planned_predictions": planned,
        "planned_usd_per_thousand": plan.model_usd(name) / planned * 1000 if planned else None,
        "spent_usd": round(billed, 6),
        "predictions": asked.of_month if asked.counted else None,
        "usd_per_thousand": billed / asked.of_month * 1000 if asked.counted and asked.of_month and billed else None,
        "usd_earned_per_thousand": known.get(_VALUES[0]),
        "return_on_cost": known.get(_VALUES[1]),
    }


def _known_values(of: Outputs, now: datetime) -> dict[str, dict[str, float]]:
    """The newest of each metric of value that the monitor has published."""
    import boto3

    places = [(model, name) for model in of.models for name in _VALUES]
    queries = [
        {
            "Id": f"v{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": of.metrics_namespace,
                    "MetricName": name,
                    "Dimensions": [{"Name": "Model", "Value": model}],
                },
                "Period": 3600,
                "Stat": "Average",
            },
        }
        for number, (model, name) in enumerate(places)
    ]
    newest: dict[tuple[str, str], tuple[datetime, float]] = {}
    pages = (
        boto3.client("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(MetricDataQueries=queries, StartTime=now - timedelta(days=LOOK_BACK_DAYS), EndTime=now)
        if queries
        else ()
    )
    for page in pages:
        for item in page["MetricDataResults"]:
            place = places[int(item["Id"][1:])]
            for both in zip(item["Timestamps"], item["Values"], strict=True):
                newest[place] = max(newest.get(place, both), both)
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (model, name), (_, value) in newest.items():
        found[model][name] = value
    return found


def _unused(found: Idle, prices: PriceBook) -> dict[str, Any]:
    usd = prices.find(found.service, found.item)
    bill = prices.per_unit if found.monthly else prices.hourly
    return {
        "resource": found.resource,
        "says": found.says,
        "since": found.since.isoformat(timespec="seconds"),
        "monthly_usd": None if usd is None else round(bill(found.service, found.item, found.units).usd, 2),
        "advice": found.advice,
    }


def _dearest(spent: list[Spent]) -> list[dict[str, Any]]:
    """Resources that cost most, where the source names them."""
    totals: defaultdict[tuple[str, str], float] = defaultdict(float)
    for each in spent:
        if each.resource:
            totals[each.resource, each.service] += each.usd
    ranked = sorted(totals.items(), key=lambda item: -item[1])[:10]
    return [{"resource": resource, "service": service, "usd": round(usd, 4)} for (resource, service), usd in ranked]
