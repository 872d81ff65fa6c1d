"""Service levels: what share of events must be good, drawn from a model's objectives, and when too many are not.

The burn rates and windows are those of Google's SRE workbook, chapter 5, "Alerting on SLOs", 6: Multiwindow,
Multi-Burn-Rate Alerts (https://sre.google/workbook/alerting-on-slos/). A burn rate of 1 uses the error budget up in
exactly 30 days.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spec.objectives import Availability, ModelObjectives
from spec.on_cluster import REQUEST_BUCKETS

GUARDS = ("latency", "errors")  # alarms that roll a deployment back, and tell nobody
PERIOD_DAYS = 30
# What Managed Prometheus records of the cluster's models, with a window after it.
ALL_EVENTS, BAD_EVENTS, BAD_SHARE = "slo:sli_total:increase", "slo:sli_error:increase", "slo:sli_error:ratio_rate"
SERVED_WITHIN = 0.95  # share of the answers that ``latency_ms`` promises
MONITORED_EVERY_HOURS = 24.0
ON_SAGEMAKER, ON_CLUSTER = ("realtime", "serverless"), ("cluster", "cluster-gpu")  # topologies that answer requests
# SageMaker promises 99.9 % of an endpoint in two zones; less is promised here where one zone may take it down.
AVAILABLE = {Availability.ONE_ZONE: 0.995, Availability.MULTI_ZONE: 0.999, Availability.TWO_REGIONS: 0.9995}


class Urgency(StrEnum):
    """Whether somebody must act at once, or within a few days."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True)
class Burn:
    """Rings when the error budget burns faster than ``rate``, over the long window and still over the short one.

    Args:
        fewest: Bad events in the long window below which it stays silent, so that one failure among a few requests
            rings nobody.
    """

    rate: float
    long_minutes: int
    short_minutes: int
    urgency: Urgency
    fewest: int


# ``fewest``: with as many, a service that uses up exactly its budget has them by chance in under 1 % of the windows in
# which they make the rate (Poisson); three days are compared with the budget itself, where chance decides nothing.
WORKBOOK = (
    Burn(14.4, 60, 5, Urgency.PAGE, 2),
    Burn(6.0, 360, 30, Urgency.PAGE, 4),
    Burn(1.0, 4_320, 360, Urgency.TICKET, 4),
)
# Where events are so rare that the workbook's windows would be empty: two bad ones within a week, which is the longest
# that CloudWatch looks back; and where there are not two a week, one.
RARE = (Burn(2.0, 10_080, 2_880, Urgency.TICKET, 2),)
RAREST = (Burn(2.0, 10_080, 10_080, Urgency.TICKET, 1),)


def window_name(minutes: int) -> str:
    """A window's length as Prometheus writes it: 5m, 6h, 3d."""
    for unit, length in (("d", 1440), ("h", 60)):
        if minutes >= length and minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"


@dataclass(frozen=True)
class ServiceLevel:
    """One promise about one model.

    Args:
        name: availability, latency, freshness, training, quality or value.
        says: What a good event is.
        target: Share of good events, 0 to 1.
        limit: Milliseconds within which an answer is good; None for all but latency.
        per_hour: Events expected in an hour.
    """

    name: str
    says: str
    target: float
    limit: float | None
    per_hour: float

    @property
    def budget(self) -> float:
        """Share of the events that may be bad."""
        return 1 - self.target

    @property
    def burns(self) -> tuple[Burn, ...]:
        """The windows that can ring: enough events are expected in the long one, and one in the short one; and not
        even more than all of them would have to be bad.
        """
        found = tuple(
            burn
            for burn in WORKBOOK
            if self.per_hour * burn.long_minutes / 60 >= burn.fewest
            and self.per_hour * burn.short_minutes / 60 >= 1
            and burn.rate * self.budget < 1
        )
        return found or (RARE if self.per_hour * RARE[0].long_minutes / 60 >= RARE[0].fewest else RAREST)


def oldest_hours(model: ModelObjectives) -> float:
    """How old features may be: one training may fail."""
    return 2 * model.retraining.every_hours


def percent(share: float) -> str:
    """A share with as many digits as it needs: 99.5 %, 99.9995 %."""
    return f"{share * 100:.10g} %"


def service_levels(
    model: ModelObjectives, availability: Availability, topology: str, *, reads_features: bool
) -> tuple[ServiceLevel, ...]:
    """A model's service levels.

    Args:
        topology: How it is served, as in the design.
        reads_features: Whether it reads features from the online store.
    """
    wanted, daily = model.service_levels, 1 / MONITORED_EVERY_HOURS
    found = []
    if topology in (*ON_SAGEMAKER, *ON_CLUSTER):
        requests = model.requests_per_second.average * 3600
        found += [
            ServiceLevel(
                "availability",
                "requests answered without an error of the server",
                AVAILABLE[availability] if wanted.available is None else wanted.available,
                None,
                requests,
            ),
        ]
        # On the cluster, nothing above the last bucket's end is told apart.
        if topology in ON_SAGEMAKER or model.latency_ms <= REQUEST_BUCKETS[-1] * 1000:
            found.append(
                ServiceLevel(
                    "latency",
                    f"requests answered within {model.latency_ms:g} ms",
                    SERVED_WITHIN,
                    model.latency_ms,
                    requests,
                )
            )
    hours = model.retraining.every_hours
    found.append(ServiceLevel("training", "trainings that succeed", wanted.trainings, None, 1 / hours))
    if topology == "edge":
        return tuple(found)  # nothing that devices answer comes back
    if reads_features:
        found.append(
            ServiceLevel(
                "freshness",
                f"days on which features are younger than {oldest_hours(model):g} hours, two trainings",
                wanted.days,
                None,
                daily,
            )
        )
    quality = model.quality
    sign = "at least" if quality.is_score else "at most"
    found.append(
        ServiceLevel(
            "quality",
            f"days on which {quality.metric} is {sign} {quality.worst:g}",
            wanted.days,
            None,
            daily,
        )
    )
    if model.value.usd_per_unit:
        found.append(ServiceLevel("value", "days on which predictions earn what they cost", wanted.days, None, daily))
    return tuple(found)
