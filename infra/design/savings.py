"""What the design saves already, and what it could still save, each with its assumption.

Every amount is the difference between two bills of the same book and the same load.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.design import SWITCHED_OFF, Design
from infra.design.bill import NOTHING, Bill
from infra.design.decisions import Decision
from infra.design.layers.cluster import GPU_TYPE
from infra.design.layers.data import PARQUET_SHARE
from infra.design.layers.serving import JOB_START_MINUTES, JOB_TYPE, SPOT_LEAST_MINUTES, WORK_MINUTES
from infra.design.price_book import HOURS_PER_MONTH, SPOT_AS_OF, PriceBook
from spec.objectives import Objectives, OfficeHours

LEAST_USD = 0.01  # a month; less is not worth a line
_USUAL_HOURS = OfficeHours(start=8, end=18, timezone="UTC")
SPOT, AUTOSCALING, OFF_PEAK, SERVERLESS, COMPRESSION = (
    "spare capacity",
    "autoscaling",
    "off-peak",
    "serverless",
    "compression",
)


@dataclass(frozen=True)
class Saving:
    """One way to pay less.

    Attributes:
        kind: spare capacity, autoscaling, off-peak, serverless or compression.
        of: What it is applied to.
        used: Whether the design has it; otherwise ``assumes`` says which objective is in the way.
        monthly_usd: What it saves, or would save.
        share: The same as a share of what is paid without it, 0 to 1.
    """

    kind: str
    of: str
    used: bool
    monthly_usd: float
    share: float
    assumes: str


def savings(objectives: Objectives, plan: Design, prices: PriceBook) -> list[Saving]:
    """Those that are worth a line, the used ones first, and then by amount."""
    found = [
        *_spot(objectives, plan, prices),
        *_autoscaling(objectives, plan, prices),
        *_off_peak(objectives, plan, prices),
        *_serverless(plan),
        *_compression(plan),
    ]
    told = [saving for saving in found if saving.monthly_usd >= LEAST_USD]
    return sorted(told, key=lambda saving: (not saving.used, -saving.monthly_usd))


def _saving(kind: str, of: str, with_it: float, without: float, assumes: str, *, used: bool = True) -> Saving:
    saved = without - with_it
    return Saving(kind, of, used, saved, saved / without if without else 0.0, assumes)


def _spot(objectives: Objectives, plan: Design, prices: PriceBook) -> Iterator[Saving]:
    for decision in plan.decisions:
        spare = [charge for charge in decision.bill.charges if charge.spot_share < 1]
        paid, without = sum(c.usd for c in spare), sum(c.usd / c.spot_share for c in spare)
        what = ", ".join(sorted({charge.item for charge in spare}))
        assumes = f"{what} at the median price of {SPOT_AS_OF}; AWS may take it back, and what ran on it begins again"
        yield _saving(SPOT, decision.layer, paid, without, assumes)
    for name, retraining in plan.retraining.items():
        if retraining.kind == "sagemaker-pipeline" and not retraining.spot_minutes:
            runs = 24 * 30 / retraining.every_hours
            bill = prices.per_unit("sagemaker", JOB_TYPE, runs * (JOB_START_MINUTES + WORK_MINUTES) / 60)
            given = objectives.models[name].retraining.within_minutes
            assumes = (
                f"needs {SPOT_LEAST_MINUTES:g} minutes for the training alone;"
                f" models.{name}.retraining.within_minutes is {given:g}"
            )
            paid = bill.on_spot(prices.spot_share(JOB_TYPE)).usd
            yield _saving(SPOT, f"retraining {name}", paid, bill.usd, assumes, used=False)


def _autoscaling(objectives: Objectives, plan: Design, prices: PriceBook) -> Iterator[Saving]:
    for name, serving in plan.serving.items():
        rate = objectives.models[name].requests_per_second
        peak = serving.max_instances - 1  # one more takes a new version
        if serving.topology == "realtime" and peak > serving.min_instances:
            one = prices.hourly("sagemaker", serving.instance_type)
            assumes = (
                f"{serving.min_instances} of the {peak} instances that {rate.peak:g} requests a second need; peaks are"
                " short"
            )
            yield _saving(AUTOSCALING, f"serving {name}", one.usd * serving.min_instances, one.usd * peak, assumes)
    hours = objectives.research.gpu_hours_per_month
    if hours:
        spot = prices.hourly("ec2", GPU_TYPE).on_spot(prices.spot_share(GPU_TYPE)).usd
        assumes = f"a GPU node runs {hours:g} of {HOURS_PER_MONTH} hours: only while an experiment needs it"
        yield _saving(AUTOSCALING, "cluster: GPU pools", spot * hours / HOURS_PER_MONTH, spot, assumes)


def _off_peak(objectives: Objectives, plan: Design, prices: PriceBook) -> Iterator[Saving]:
    decisions = {decision.layer: decision for decision in plan.decisions}
    control = prices.hourly("eks", "cluster")
    running = sum((decisions[layer].bill for layer in SWITCHED_OFF), start=NOTHING) + -control
    if plan.office_hours is not None:
        saved = -decisions["schedule"].monthly_usd
        assumes = f"nodes and database are off {1 - plan.office_hours.share:.0%} of the week"
        yield _saving(OFF_PEAK, "schedule", running.usd - saved, running.usd, assumes)
    elif not objectives.production and not any(each.topology.startswith("cluster") for each in plan.serving.values()):
        paid = running * _USUAL_HOURS.share
        assumes = "nodes and database on Monday to Friday, 8:00 to 18:00, only; office_hours is not set"
        yield _saving(OFF_PEAK, "schedule", paid.usd, running.usd, assumes, used=False)
    for name in plan.serving:
        decision = decisions[f"serving {name}"]
        hourly = _other(decision, "hourly batch")
        if decision.chosen.startswith("daily batch") and hourly is not None:
            yield _saving(OFF_PEAK, decision.layer, decision.monthly_usd, hourly[0], "once a day instead of each hour")


def _serverless(plan: Design) -> Iterator[Saving]:
    decisions = {decision.layer: decision for decision in plan.decisions}
    for name in plan.serving:
        decision = decisions[f"serving {name}"]
        if decision.chosen.startswith("SageMaker serverless"):
            always = _other(decision, "SageMaker real-time")
            if always is not None:
                assumes = "pays for the time of requests, not for waiting instances; a cold start takes seconds"
                yield _saving(SERVERLESS, decision.layer, decision.monthly_usd, always[0], assumes)
        elif found := _other(decision, "SageMaker serverless"):
            yield _saving(SERVERLESS, decision.layer, found[0], decision.monthly_usd, found[1], used=False)


def _other(decision: Decision, begins: str) -> tuple[float, str] | None:
    """USD a month of the cheapest other option whose name begins like this, and why it was not chosen."""
    found = [(other.monthly_usd, other.why) for other in decision.rejected if other.option.startswith(begins)]
    return min(found, default=None)


def _compression(plan: Design) -> Iterator[Saving]:
    bill = next((decision.bill for decision in plan.decisions if decision.layer == "lake"), NOTHING)
    stored = Bill(tuple(charge for charge in bill.charges if charge.item != "put"))
    assumes = f"Parquet takes {PARQUET_SHARE:.0%} of what the events take as JSON; Athena also reads so much less"
    yield _saving(COMPRESSION, "lake", stored.usd, stored.usd / PARQUET_SHARE, assumes)
    decision = next((each for each in plan.decisions if each.layer == "lake"), None)
    if decision is not None and decision.chosen != "S3 Standard throughout":
        found = _other(decision, "S3 Standard throughout")
        if found is not None:
            assumes = "what is rarely read moves to colder classes; reading it costs more there"
            yield _saving("storage classes", "lake", decision.monthly_usd, found[0], assumes)
