"""What the environment may cost: budgets that warn before the money is spent, and anomaly detection."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope

TAGS = ("Project", "Environment", "Component", "Model", "Owner")
ANOMALY_SHARE = 0.1  # of the budget: an unexpected cost of that much is worth an e-mail


@dataclass(frozen=True, kw_only=True)
class CostArgs(Args):
    """Args:
    monthly_usd: The budget.
    alert_percent: Shares of it that alert; the last one also when it is only forecast.
    addresses: E-mail addresses that are notified.
    topic_arn: SNS topic that is also notified.
    model_usd: Budget of each model, on its tag.
    activate_tags: Whether to activate the cost-allocation tags, which belong to the account.
    """

    monthly_usd: Annotated[float, Between(1, unit="USD")]
    alert_percent: Annotated[tuple[int, ...], Between(1, 1_000_000, "percent", "AWS Budgets")]
    addresses: tuple[str, ...]
    topic_arn: pulumi.Input[str]
    model_usd: dict[str, float] = field(default_factory=dict)
    activate_tags: bool = False


class Cost(Component):
    """Budgets of the environment and of each model, anomaly detection, cost-allocation tags.

    Attributes:
        budget_name: Name of the environment's budget.
    """

    def __init__(self, name: str, scope: Scope, args: CostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args = name, args
        self.budget_name = self._budget(
            name, "monthly", args.monthly_usd, {"TagKeyValue": f"user:Environment${scope.stack}"}
        )
        for model, usd in args.model_usd.items():
            self._budget(f"{name}-{model}", model, usd, {"TagKeyValue": f"user:Model${model}"})
        self._anomalies(name, args)
        if args.activate_tags:
            for tag in TAGS:
                aws.costexplorer.CostAllocationTag(
                    f"{name}-{tag.lower()}", tag_key=tag, status="Active", opts=self.child()
                )
        self.register_outputs({"budget_name": self.budget_name})

    def _budget(self, name: str, purpose: str, usd: float, filters: dict[str, str]) -> pulumi.Output[str]:
        args, scope = self._args, self.scope

        def notification(percent: int, kind: str) -> dict[str, object]:
            return {
                "comparison_operator": "GREATER_THAN",
                "threshold": percent,
                "threshold_type": "PERCENTAGE",
                "notification_type": kind,
                "subscriber_email_addresses": list(args.addresses),
                "subscriber_sns_topic_arns": [args.topic_arn],
            }

        budget = aws.budgets.Budget(
            name,
            name=scope.name(purpose, limit=100),
            account_id=scope.account_id,
            budget_type="COST",
            limit_amount=f"{usd:.2f}",
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[{"name": key, "values": [value]} for key, value in filters.items()],
            notifications=[notification(percent, "ACTUAL") for percent in args.alert_percent]
            + [notification(max(args.alert_percent), "FORECASTED")],
            tags=scope.tags("cost"),
            opts=self.child(),
        )
        name_of: pulumi.Output[str] = budget.name
        return name_of

    def _anomalies(self, name: str, args: CostArgs) -> None:
        """https://docs.aws.amazon.com/cost-management/latest/userguide/manage-ad.html."""
        scope = self.scope
        monitor = aws.costexplorer.AnomalyMonitor(
            name,
            name=scope.name("anomalies", limit=1024),
            monitor_type="CUSTOM",
            # With every key, as AWS returns it: other text would replace the monitor, and lose what it has learned.
            monitor_specification=json.dumps(
                {
                    **dict.fromkeys(("And", "CostCategories", "Dimensions", "Not", "Or")),
                    "Tags": {"Key": "Environment", "Values": [scope.stack], "MatchOptions": ["EQUALS"]},
                }
            ),
            tags=scope.tags("cost"),
            opts=self.child(),
        )
        threshold = max(10, round(ANOMALY_SHARE * args.monthly_usd))
        aws.costexplorer.AnomalySubscription(
            name,
            name=scope.name("anomalies", limit=1024),
            frequency="DAILY",
            monitor_arn_lists=[monitor.arn],
            subscribers=[{"type": "EMAIL", "address": address} for address in args.addresses],
            threshold_expression={
                "dimension": {
                    "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                    "match_options": ["GREATER_THAN_OR_EQUAL"],
                    "values": [str(threshold)],
                }
            },
            tags=scope.tags("cost"),
            opts=self.child(),
        )
