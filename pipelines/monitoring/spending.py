"""What a stack has cost by day, as AWS bills it, and what the month will have cost at its end."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from spec.errors import GroundplanError
from spec.outputs import Outputs

LOOK_BACK_DAYS = 30
LEAST_DAYS = 4  # complete ones, of which the first is left out: a forecast from fewer says nothing
CONFIDENCE = 0.9  # that the month ends within the interval, if days go on as they were


@dataclass(frozen=True)
class Spent:
    """What a service has cost on a day.

    Attributes:
        model: By the tag ``Model``; empty for what is shared.
        resource: ARN or id, where the source has it.
    """

    day: date
    service: str
    model: str
    usd: float
    resource: str = ""


@dataclass(frozen=True)
class Forecast:
    """What the month will have cost.

    Attributes:
        usd, least, most: At its end: what is expected, and the interval.
        days: Complete days that it rests on; 0 where it rests on the estimate.
        says: How it was made.
    """

    usd: float
    least: float
    most: float
    days: int
    says: str


def by_cost_explorer(outputs: Outputs, begin: date, end: date) -> list[Spent]:
    """A stack's days from ``begin`` until before ``end``, by its tags ``Project`` and ``Environment``.

    Raises:
        GroundplanError: Cost Explorer can't be asked.
    """
    import boto3
    from botocore.exceptions import ClientError

    tags = {"Project": outputs.project, "Environment": outputs.stack}
    asked: dict[str, Any] = {
        "TimePeriod": {"Start": begin.isoformat(), "End": end.isoformat()},
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost"],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "TAG", "Key": "Model"}],
        "Filter": {"And": [{"Tags": {"Key": key, "Values": [value]}} for key, value in tags.items()]},
    }
    # It exists in one region, and knows all of them.
    client, found = boto3.client("ce", region_name="us-east-1"), list[Spent]()
    try:
        while True:
            page = client.get_cost_and_usage(**asked)
            for period in page["ResultsByTime"]:
                day = date.fromisoformat(period["TimePeriod"]["Start"][:10])
                for group in period["Groups"]:
                    service, model = group["Keys"]
                    usd = float(group["Metrics"]["UnblendedCost"]["Amount"])
                    found.append(Spent(day, service, model.partition("$")[2], usd))
            if not page.get("NextPageToken"):
                return found
            asked["NextPageToken"] = page["NextPageToken"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        fix = {
            "AccessDeniedException": "use the role `operations` of the stack, or ask for ce:GetCostAndUsage",
            "DataUnavailableException": "Cost Explorer needs a day after it is enabled; try again tomorrow",
        }.get(code, "try again later, or name a cost-and-usage report (--report)")
        raise GroundplanError(f"Cost Explorer does not answer ({code})", fix=fix) from None


def by_day(spent: Iterable[Spent]) -> dict[date, float]:
    """USD of each day."""
    found: defaultdict[date, float] = defaultdict(float)
    for each in spent:
        found[each.day] += each.usd
    return dict(found)


def days_of_month(day: date) -> int:
    """How many days a month has."""
    return calendar.monthrange(day.year, day.month)[1]


def forecast(
    days: Mapping[date, float], today: date, billed_to: date, month: tuple[float, float, float], whence: str
) -> Forecast:
    """The month of ``today``: what is billed, and for the days to come the mean of the days before.

    The interval is a prediction interval for a sum of independent, normal days (Student's t). Days that depend on each
    other, or a change of what runs, make it wider than it says.

    Args:
        days: USD by day.
        billed_to: The last day that is billed completely.
        month: Where there are too few days: USD of a whole month, at least, and at most.
        whence: Where ``month`` comes from, in words.
    """
    first = today.replace(day=1)
    left = (first + timedelta(days=days_of_month(today) - 1) - max(billed_to, first - timedelta(days=1))).days
    spent = sum(usd for day, usd in days.items() if first <= day <= billed_to)
    begun = min((day for day, usd in days.items() if usd > 0), default=today)
    recent = max(begun, billed_to - timedelta(days=LOOK_BACK_DAYS - 1))
    known = [days.get(recent + timedelta(days=number), 0.0) for number in range((billed_to - recent).days + 1)]
    known = known[1:] if recent == begun else known  # the day on which it began is not a whole one
    if len(known) < LEAST_DAYS - 1:
        usd, least, most = (spent + each * left / days_of_month(today) for each in month)
        return Forecast(usd, least, most, 0, f"{len(known)} of {LEAST_DAYS - 1} whole days are billed, so {whence}")
    from scipy.special import stdtrit

    mean, count = fmean(known), len(known)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * stdev(known) * sqrt(left * (1 + left / count))
    usd = spent + mean * left
    says = f"the days to come as the last {count} were; {CONFIDENCE:.0%} of such months end within the interval"
    return Forecast(usd, max(spent, usd - half), usd + half, count, says)
