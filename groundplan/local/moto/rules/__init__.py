"""One rule per Pulumi resource type: which AWS call really creates it, and what it returns.

A type without a rule is recorded, never faked.
"""

from __future__ import annotations

from groundplan.local.moto.rules import cluster, front_end, governance, network, serving, storage, streaming
from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule

__all__ = ["RECORDED_OUTPUTS", "RULES", "Cloud", "Inputs", "Made", "Rule", "rule_for"]

RULES: dict[str, Rule] = {
    **storage.RULES,
    **network.RULES,
    **streaming.RULES,
    **serving.RULES,
    **front_end.RULES,
    **cluster.RULES,
    **governance.RULES,
}

# Types the local cloud can't create, with the outputs that others need to be well formed. They are listed as recorded.
RECORDED_OUTPUTS: dict[str, dict[str, str]] = {
    "aws:msk/configuration:Configuration": {
        "arn": "arn:aws:kafka:{region}:{account}:configuration/{inputs[name]}/00000000-0000-0000-0000-000000000000-1",
        "latestRevision": "1",
    },
    "aws:sagemaker/studioLifecycleConfig:StudioLifecycleConfig": {
        "arn": "arn:aws:sagemaker:{region}:{account}:studio-lifecycle-config/{inputs[studioLifecycleConfigName]}"
    },
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": {"arn": "arn:aws:ce::{account}:anomalymonitor/{inputs[name]}"},
}
_CHARTS = "kubernetes:helm.sh/"  # a chart is not a Kubernetes object; a cluster's Helm creates objects from it


def rule_for(type_: str) -> Rule | None:
    """The rule of a type; every Kubernetes object shares one."""
    if type_.startswith("kubernetes:") and not type_.startswith(_CHARTS):
        return cluster.MANIFEST
    return RULES.get(type_)
