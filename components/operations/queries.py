"""Saved queries of CloudWatch Logs Insights, for what people look for in an endpoint's log.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope

# The lines' fields are those of ``pipelines.serving.operating.logs``.
QUERIES = {
    "errors": 'filter level = "ERROR" | fields @timestamp, message, trace_id, exception | sort @timestamp desc',
    "slowest": (
        "filter ispresent(duration_ms) | fields @timestamp, duration_ms, route, status, rows, trace_id"
        " | sort duration_ms desc | limit 50"
    ),
    "latency": (
        "filter ispresent(duration_ms) | stats count(), pct(duration_ms, 50), pct(duration_ms, 95) by bin(5m), route"
    ),
    "one-request": 'filter @message like "TRACE-OR-PREDICTION-ID" | fields @timestamp, @message | sort @timestamp',
}


@dataclass(frozen=True, kw_only=True)
class SavedQueriesArgs(Args):
    """Args:
    log_groups: Name of the log group by model.
    """

    log_groups: Mapping[str, str]


class SavedQueries(Component):
    """Queries in a folder for each model, where CloudWatch's console lists them."""

    def __init__(
        self, name: str, scope: Scope, args: SavedQueriesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        for model, group in args.log_groups.items():
            for kind, text in QUERIES.items():
                aws.cloudwatch.QueryDefinition(
                    f"{name}-{model}-{kind}",
                    name=f"{scope.name(model, limit=200)}/{kind}",
                    log_group_names=[group],
                    query_string=text,
                    opts=self.child(),
                )
        self.register_outputs({"models": list(args.log_groups)})
