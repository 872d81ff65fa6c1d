"""A few of the platform's components for other programs, in any of Pulumi's languages.

Pulumi reads each component's schema from its evaluated annotations, so their evaluation can't be postponed: this file
has no ``from __future__ import annotations``.
https://www.pulumi.com/docs/iac/using-pulumi/extending-pulumi/build-a-component/
"""

from typing import Any, TypedDict

import pulumi
import pulumi_kubernetes

from components.cluster.cluster import ForeignCluster
from components.cluster.karpenter import Karpenter, KarpenterArgs
from components.data.lake import Lake as _Lake
from components.data.lake import LakeArgs as _LakeArgs
from components.foundation.base import Scope
from components.foundation.keys import Keys, KeysArgs
from components.models.endpoint import Endpoint as _Endpoint
from components.models.endpoint import EndpointArgs as _EndpointArgs
from components.operations.cost import Cost, CostArgs

_DAYS_OF_LOGS = 30
_UNITS_A_MINUTE = 1000


class _Packaged(pulumi.ComponentResource):
    def __init__(self, name: str, where: Any, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(f"groundplan:index:{type(self).__name__}", name, {}, opts)
        self._scope = Scope(
            pulumi.get_project(),
            pulumi.get_stack(),
            where["region"],
            where["account_id"],
            where["owner"],
            bool(where.get("protect")),
        )

    def _child(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self)


class _Where(TypedDict):
    region: str
    """Region, for example eu-central-1."""
    account_id: str
    """Twelve digits; part of names and policies."""
    owner: str
    """Who is responsible: an address, as a tag of every resource."""
    protect: bool | None
    """Whether resources that hold data are protected from deletion."""


class LakeArgs(_Where):
    """Of a lake."""

    retention_days: int
    """Days after which events are deleted."""
    raw_lock_days: int | None
    """Days in which nobody can change or delete raw events (S3 Object Lock); none by default."""
    audit_lock_days: int | None
    """The same for the audit log; a year by default."""


class Lake(_Packaged):
    """Five buckets, from raw events to the audit log, each with a key of its class of data: encrypted, versioned,
    closed, with a lifecycle.
    """

    buckets: pulumi.Output[dict[str, str]]
    """Name of each zone's bucket: raw, curated, features, models, audit."""
    key_arns: pulumi.Output[dict[str, str]]
    """ARN of the KMS key of each class of data."""

    def __init__(self, name: str, args: LakeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, args, opts)
        keys = Keys(
            f"{name}-keys", self._scope, KeysArgs(deletion_days=30 if self._scope.protect else 7), self._child()
        )
        lake = _Lake(
            name,
            self._scope,
            _LakeArgs(
                key_arns=keys.arns,
                retention_days=int(args["retention_days"]),
                raw_lock_days=int(args.get("raw_lock_days") or 0),
                audit_lock_days=int(args.get("audit_lock_days") or 365),
                audit_lock_mode="GOVERNANCE",
                cold_days=(),
                dataset_prefixes=("",),
            ),
            self._child(),
        )
        self.buckets = pulumi.Output.all(**{str(zone): bucket for zone, bucket in lake.buckets.items()})
        self.key_arns = pulumi.Output.all(**{str(kind): arn for kind, arn in keys.arns.items()})
        self.register_outputs({"buckets": self.buckets, "keyArns": self.key_arns})


class EndpointArgs(_Where):
    """Of an endpoint."""

    model: str
    """Its name: lower-case letters, digits and dashes."""
    instance_type: str | None
    """SageMaker instance type; none for a serverless endpoint."""
    min_instances: int
    max_instances: int
    """Most instances; for a serverless endpoint, most concurrent requests."""
    canary_percent: int | None
    """Share of the capacity that is updated first; 10 by default."""
    image_uri: pulumi.Input[str]
    """Container image of the model server."""
    role_arn: pulumi.Input[str]
    """What the container may do."""
    key_arn: pulumi.Input[str]
    """Encrypts volumes and captured requests."""
    capture_bucket: pulumi.Input[str]
    """Where requests and answers are kept, under capture/."""
    subnet_ids: pulumi.Input[list[str]]
    security_group_id: pulumi.Input[str]


class Endpoint(_Packaged):
    """A SageMaker endpoint with a canary, autoscaling, data capture and its log; your own pipeline deploys to it."""

    endpoint_name: pulumi.Output[str]

    def __init__(self, name: str, args: EndpointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, args, opts)
        made = _Endpoint(
            name,
            self._scope,
            _EndpointArgs(
                model=args["model"],
                instance_type=args.get("instance_type") or "",
                min_instances=int(args["min_instances"]),
                max_instances=int(args["max_instances"]),
                canary_percent=int(args.get("canary_percent") or 10),
                image_uri=args["image_uri"],
                role_arn=args["role_arn"],
                key_arn=args["key_arn"],
                capture_bucket=args["capture_bucket"],
                subnet_ids=args["subnet_ids"],  # type: ignore[arg-type]
                security_group_id=args["security_group_id"],
                log_retention_days=_DAYS_OF_LOGS,
                target_invocations_per_minute=_UNITS_A_MINUTE,
            ),
            self._child(),
        )
        self.endpoint_name = pulumi.Output.from_input(made.endpoint_name)
        self.register_outputs({"endpointName": self.endpoint_name})


class BudgetArgs(_Where):
    """Of a budget."""

    monthly_usd: float
    alert_percent: list[int]
    """Percentages of it that alert, at most four; the last one also when it is only forecast."""
    addresses: list[str]
    """E-mail addresses that are notified."""
    topic_arn: pulumi.Input[str]
    """SNS topic that is also notified."""
    model_usd: dict[str, float] | None
    """A separate budget for each model, by its tag `Model`."""


class Budget(_Packaged):
    """A budget for everything with the stack's tag `Environment`, one for each model, and anomaly detection."""

    budget_name: pulumi.Output[str]

    def __init__(self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, args, opts)
        made = Cost(
            name,
            self._scope,
            CostArgs(
                monthly_usd=float(args["monthly_usd"]),
                alert_percent=tuple(int(percent) for percent in args["alert_percent"]),
                addresses=tuple(args["addresses"]),
                topic_arn=args["topic_arn"],
                model_usd={model: float(usd) for model, usd in (args.get("model_usd") or {}).items()},
            ),
            self._child(),
        )
        self.budget_name = pulumi.Output.from_input(made.budget_name)
        self.register_outputs({"budgetName": self.budget_name})


class ClusterPoolsArgs(_Where):
    """Of pools."""

    cluster_name: str
    """An EKS cluster with the Pod Identity agent; its subnets and a security group have the tag
    karpenter.sh/discovery with its name."""
    node_role: str
    """Name of the nodes' role; it may join the cluster."""
    kubeconfig: pulumi.Input[str]
    node_key_arn: pulumi.Input[str]
    """Encrypts the nodes' volumes."""
    zones: list[str]
    """Letters of the availability zones."""
    cpu_limit: int
    """Most vCPUs of the CPU pool."""
    gpu_limit: int | None
    """Most GPUs at a time; no GPU pools by default."""


class ClusterPools(_Packaged):
    """Karpenter with a pool of CPUs and pools of GPUs, spot first, its interruption queue and its permissions."""

    def __init__(self, name: str, args: ClusterPoolsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, args, opts)
        kubernetes = pulumi_kubernetes.Provider(name, kubeconfig=args["kubeconfig"], opts=self._child())
        Karpenter(
            name,
            self._scope,
            KarpenterArgs(
                cluster=ForeignCluster(args["cluster_name"], args["node_role"], kubernetes),
                node_key_arn=args["node_key_arn"],
                zones=tuple(args["zones"]),
                cpu_limit=int(args["cpu_limit"]),
                gpu_limit=int(args.get("gpu_limit") or 0),
            ),
            self._child(),
        )
        self.register_outputs({})


COMPONENTS: list[type[pulumi.ComponentResource]] = [Lake, Endpoint, Budget, ClusterPools]
