"""What the environment may cost: a monthly budget that warns finance before it is spent."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope


@dataclass(frozen=True)
class CostArgs:
    """Args:
    monthly_usd: The budget.
    alert_percent: Shares of it that alert; the last one also when it is only forecast.
    addresses: Who is told.
    """

    monthly_usd: float
    alert_percent: tuple[int, ...]
    addresses: tuple[str, ...]


class Cost(Component):
    """A budget on the stack's cost-allocation tag."""

    def __init__(self, name: str, scope: Scope, args: CostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)

        def notification(percent: int, kind: str) -> dict[str, object]:
            return {
                "comparison_operator": "GREATER_THAN",
                "threshold": percent,
                "threshold_type": "PERCENTAGE",
                "notification_type": kind,
                "subscriber_email_addresses": list(args.addresses),
            }

        budget = aws.budgets.Budget(
            name,
            name=scope.name("monthly", limit=100),
            account_id=scope.account_id,
            budget_type="COST",
            limit_amount=f"{args.monthly_usd:.2f}",
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:Environment${scope.stack}"]}],
            notifications=[notification(percent, "ACTUAL") for percent in args.alert_percent] + [notification(max(args.alert_percent), "FORECASTED")],
            opts=self.child(),
        )
        self.budget_name = budget.name
        self.register_outputs({"budget_name": budget.name})
