"""The interface that a web page calls: API Gateway before the endpoints, a sign-in, a firewall, a cache on request."""

from __future__ import annotations

from dataclasses import dataclass

from infra.design.bill import requests
from infra.design.decisions import Chooser
from infra.design.price_book import PriceBook
from spec.objectives import Objectives

FIREWALL_RULES = 3
CACHE_GB = "0.5"  # the smallest; at a kilobyte an answer, half a million of them


@dataclass(frozen=True)
class FrontEndDesign:
    """``cache_gb`` is a size that API Gateway offers; empty for no cache."""

    cache_gb: str


def front_end(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> FrontEndDesign | None:
    """What web pages call; None where none does."""
    page = objectives.front_end
    if page is None:
        return None
    cost = prices.per_unit("wafv2", "acl") + prices.per_unit("wafv2", "rule", FIREWALL_RULES)
    for name in page.models:
        millions = objectives.models[name].requests_per_second.average * 86_400 * 30 / 1e6
        for service, item in (("apigateway", "rest-requests"), ("wafv2", "requests")):
            cost += prices.per_unit(service, item, millions, requests(name))
    forced = [f"front_end.origin: {page.origin}", f"front_end.models: {', '.join(page.models)}"]
    if page.cache_seconds:
        cost += prices.hourly("apigateway", f"cache-{CACHE_GB}")
        forced.append(f"front_end.cache_seconds: {page.cache_seconds}")
    cached = f", answers by key kept for {page.cache_seconds} s" if page.cache_seconds else ""
    chooser.note(
        "front end",
        f"API Gateway with a sign-in (Cognito) and a firewall{cached}",
        tuple(forced),
        "SageMaker answers signed requests only, which a browser can't make without AWS credentials",
        cost,
    )
    return FrontEndDesign(CACHE_GB if page.cache_seconds else "")
