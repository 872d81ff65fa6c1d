"""The local cloud's Managed Prometheus, as far as it is asked: the newest value of series that a selector names."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import parse_qs

from spec.on_cluster import REQUEST, REVISION_LABEL, SERVICE_LABEL, STATUS_LABEL
from spec.service_levels import ALL_EVENTS, BAD_EVENTS, PERIOD_DAYS

REQUESTS = f"{REQUEST}_count"
PATH = re.compile(r"^/workspaces/[^/]+/api/v1/query$")
_SELECTOR = re.compile(r'^([a-zA-Z_:][\w:]*)\{((?:\w+="[^"]*",?)*)\}$')


class Samples:
    """What has been measured last."""

    def __init__(self) -> None:
        self._series: list[dict[str, Any]] = []

    def requests(self, counted: list[list[Any]]) -> None:
        """Requests that the gateway has answered: namespace, service, revision, status and count of each; and what the
        rules of service levels record of them.
        """
        self._series = [
            {
                "metric": {
                    "__name__": REQUESTS,
                    "namespace": namespace,
                    SERVICE_LABEL: service,
                    REVISION_LABEL: revision,
                    STATUS_LABEL: str(status),
                },
                "value": [time.time(), str(count)],
            }
            for namespace, service, revision, status, count in counted
        ]
        events: dict[str, list[int]] = {}
        for _, service, _, status, count in counted:
            of = events.setdefault(service.removesuffix("-predictor"), [0, 0])
            of[0] += int(count)
            of[1] += int(count) if int(status) >= 500 else 0
        self._series += [
            {
                "metric": {"__name__": f"{name}{PERIOD_DAYS}d", "model": model, "service_level": "availability"},
                "value": [time.time(), str(number)],
            }
            for model, both in events.items()
            for name, number in zip((ALL_EVENTS, BAD_EVENTS), both, strict=True)
        ]

    def query(self, asked: str) -> tuple[int, bytes]:
        """An instant query: status and answer, in the form of Prometheus' HTTP API.

        https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
        """
        given = parse_qs(asked).get("query", [""])[0]
        if not (found := _SELECTOR.match(given)):
            says = "the local cloud answers selectors with = only, without functions and operators"
            return 400, json.dumps({"status": "error", "errorType": "bad_data", "error": says}).encode()
        wanted = {"__name__": found[1], **dict(re.findall(r'(\w+)="([^"]*)"', found[2]))}
        result = [one for one in self._series if wanted.items() <= one["metric"].items()]
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
