"""Karpenter: nodes that start when pods need them and stop when they don't, on spot wherever an interruption does no
harm.

https://karpenter.sh/docs/concepts/nodepools/ (karpenter.sh/v1, karpenter.k8s.aws/v1)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws
from pulumi_kubernetes.apiextensions import CustomResource

from components.cluster.charts import install
from components.cluster.cluster import SYSTEM_TAINT, Cluster, ForeignCluster
from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement, policy
from components.foundation.roles import make_role, pod_trust

CHART_VERSION = "1.8.1"
NAMESPACE = "kube-system"
GPU_TAINT = "nvidia.com/gpu"
# What EC2 and AWS Health announce about nodes that will be interrupted.
# https://karpenter.sh/docs/reference/cloudformation/#interruption-handling
INTERRUPTIONS = {
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
    "health": ("aws.health", "AWS Health Event"),
}


@dataclass(frozen=True, kw_only=True)
class KarpenterArgs(Args):
    """Args:
    node_key_arn: Encrypts the nodes' volumes.
    zones: Letters of the zones nodes may be in.
    cpu_limit: Most vCPUs of the CPU pool.
    gpu_limit: Most GPUs of both GPU pools together; 0 for no GPU pools.
    gpu_instance_types: EC2 types, preferred in this order if prices are equal.
    """

    cluster: Cluster | ForeignCluster
    node_key_arn: pulumi.Input[str]
    zones: tuple[str, ...]
    cpu_limit: Annotated[int, Between(1, unit="vCPUs")]
    gpu_limit: Annotated[int, Between(0)]
    gpu_instance_types: tuple[str, ...] = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge")


class Karpenter(Component):
    """The controller with its queue and permissions, and the pools.

    Attributes:
        ready: What pods that need a pool must wait for.
    """

    def __init__(
        self, name: str, scope: Scope, args: KarpenterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args = name, args
        cluster = args.cluster
        queue = self._interruption_queue()
        role = make_role(self, f"{name}-controller", pod_trust(), self._rights(queue.arn), purpose="karpenter")
        aws.eks.PodIdentityAssociation(
            name,
            cluster_name=cluster.cluster_name,
            namespace=NAMESPACE,
            service_account="karpenter",
            role_arn=role.arn,
            tags=scope.tags("cluster"),
            opts=self.child(),
        )
        # Karpenter's nodes join with the access entry that EKS creates for the role of the system nodes.
        self.ready = install(
            self,
            cluster,
            name,
            name="karpenter",
            namespace=NAMESPACE,
            chart="oci://public.ecr.aws/karpenter/karpenter",
            version=CHART_VERSION,
            values={
                "settings": {"clusterName": cluster.cluster_name, "interruptionQueue": queue.name},
                "serviceAccount": {"name": "karpenter"},
                "tolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}],
                "nodeSelector": {"groundplan/pool": "system"},
            },
            after=cluster.ready,
        )
        self._node_class("cpu", 50)
        spot_first = [_requirement("karpenter.sh/capacity-type", "spot", "on-demand")]
        sizes = [
            _requirement("karpenter.k8s.aws/instance-category", "c", "m", "r"),
            _requirement("karpenter.k8s.aws/instance-cpu", "2", "4", "8", "16"),
        ]
        # Spot where it is available, otherwise on demand: Karpenter tries the cheaper one first.
        self._node_pool("cpu-spot", "cpu", spot_first + sizes, {"cpu": str(args.cpu_limit)}, weight=10)
        if args.gpu_limit:
            self._node_class("gpu", 100)
            for pool, capacity, weight in (("gpu-spot", "spot", 20), ("gpu-on-demand", "on-demand", 5)):
                wanted = [
                    _requirement("karpenter.sh/capacity-type", capacity),
                    _requirement("node.kubernetes.io/instance-type", *args.gpu_instance_types),
                ]
                self._node_pool(
                    pool,
                    "gpu",
                    wanted,
                    {GPU_TAINT: str(args.gpu_limit)},
                    weight=weight,
                    taints=[{"key": GPU_TAINT, "effect": "NoSchedule"}],
                )
        self.register_outputs({"queue": queue.name})

    def _interruption_queue(self) -> aws.sqs.Queue:
        name, scope, tags = self._name, self.scope, self.scope.tags("cluster")
        queue = aws.sqs.Queue(
            name,
            name=scope.name("interruptions", limit=80),
            message_retention_seconds=300,
            sqs_managed_sse_enabled=True,
            tags=tags,
            opts=self.child(),
        )
        aws.sqs.QueuePolicy(
            name,
            queue_url=queue.url,
            policy=policy(
                Statement(
                    ("sqs:SendMessage",),
                    (queue.arn,),
                    {"Service": "events.amazonaws.com"},
                    {
                        "ArnLike": {
                            "aws:SourceArn": f"arn:aws:events:{scope.region}:{scope.account_id}:rule/{scope.name()}-*"
                        }
                    },
                    sid="RulesOfThisStack",
                ),
                Statement(
                    ("sqs:*",),
                    (queue.arn,),
                    {"AWS": "*"},
                    {"Bool": {"aws:SecureTransport": "false"}},
                    effect="Deny",
                    sid="OnlyTls",
                ),
            ),
            opts=self.child(),
        )
        for kind, (source, detail) in INTERRUPTIONS.items():
            rule = aws.cloudwatch.EventRule(
                f"{name}-{kind}",
                name=scope.name("interruption", kind, limit=64),
                event_pattern=json.dumps({"source": [source], "detail-type": [detail]}),
                tags=tags,
                opts=self.child(),
            )
            aws.cloudwatch.EventTarget(
                f"{name}-{kind}", rule=rule.name, target_id="karpenter", arn=queue.arn, opts=self.child()
            )
        return queue

    def _rights(self, queue_arn: pulumi.Output[str]) -> list[Statement]:
        """Karpenter's own policy, restricted to this cluster's nodes by tag
        (https://karpenter.sh/docs/reference/cloudformation/).
        """
        scope = self.scope
        region, account = scope.region, scope.account_id
        cluster, nodes = self._args.cluster.physical_name, self._args.cluster.physical_node_role
        owned = {f"kubernetes.io/cluster/{cluster}": "owned"}
        request = {"StringEquals": {f"aws:RequestTag/{key}": value for key, value in owned.items()}}
        existing = {"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in owned.items()}}
        in_region = {"StringEquals": {"aws:RequestedRegion": region}}

        def ec2(*kinds: str) -> tuple[str, ...]:
            return tuple(f"arn:aws:ec2:{region}:{account}:{kind}/*" for kind in kinds)

        images = (f"arn:aws:ec2:{region}::image/*", f"arn:aws:ec2:{region}::snapshot/*")
        return [
            Statement(
                ("ec2:RunInstances", "ec2:CreateFleet"),
                (*images, *ec2("security-group", "subnet", "capacity-reservation")),
            ),
            Statement(("ec2:RunInstances", "ec2:CreateFleet"), ec2("launch-template"), conditions=existing),
            Statement(
                ("ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"),
                ec2("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"),
                conditions=request,
            ),
            Statement(
                ("ec2:CreateTags",),
                ec2("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"),
                conditions={
                    "StringEquals": {
                        **request["StringEquals"],
                        "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
                    }
                },
            ),
            Statement(("ec2:CreateTags",), ec2("instance"), conditions=existing),
            Statement(
                ("ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"),
                ec2("instance", "launch-template"),
                conditions=existing,
            ),
            Statement(
                (
                    "ec2:DescribeAvailabilityZones",
                    "ec2:DescribeCapacityReservations",
                    "ec2:DescribeImages",
                    "ec2:DescribeInstances",
                    "ec2:DescribeInstanceTypeOfferings",
                    "ec2:DescribeInstanceTypes",
                    "ec2:DescribeLaunchTemplates",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSpotPriceHistory",
                    "ec2:DescribeSubnets",
                ),
                ("*",),
                conditions=in_region,
            ),
            Statement(("ssm:GetParameter",), (f"arn:aws:ssm:{region}::parameter/aws/service/*",)),
            Statement(("pricing:GetProducts",), ("*",)),
            Statement(("sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"), (queue_arn,)),
            Statement(
                ("iam:PassRole",),
                (f"arn:aws:iam::{account}:role/{nodes}",),
                conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
            ),
            Statement(
                (
                    "iam:CreateInstanceProfile",
                    "iam:TagInstanceProfile",
                    "iam:AddRoleToInstanceProfile",
                    "iam:RemoveRoleFromInstanceProfile",
                    "iam:DeleteInstanceProfile",
                    "iam:GetInstanceProfile",
                ),
                (
                    f"arn:aws:iam::{account}:instance-profile/karpenter/{region}/{cluster}/*",
                    f"arn:aws:iam::{account}:instance-profile/{cluster}_*",
                ),
            ),
            Statement(("iam:ListInstanceProfiles",), ("*",)),
            Statement(("iam:GetRole",), (f"arn:aws:iam::{account}:role/{nodes}",)),
            Statement(("eks:DescribeCluster",), (f"arn:aws:eks:{region}:{account}:cluster/{cluster}",)),
            Statement(
                ("kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant", "kms:DescribeKey"),
                (self._args.node_key_arn,),
            ),
        ]

    def _node_class(self, kind: str, volume_gb: int) -> None:
        scope, cluster = self.scope, self._args.cluster
        cluster_name = cluster.physical_name
        discovery = {"tags": {"karpenter.sh/discovery": cluster_name}}
        CustomResource(
            f"{self._name}-class-{kind}",
            api_version="karpenter.k8s.aws/v1",
            kind="EC2NodeClass",
            metadata={"name": kind, "labels": _labels(scope)},
            spec={
                "role": cluster.node_role_name,
                "amiSelectorTerms": [{"alias": "bottlerocket@latest"}],
                "subnetSelectorTerms": [discovery],
                # The cluster's own group, which EKS tags like this, and the services'.
                "securityGroupSelectorTerms": [{"tags": {f"kubernetes.io/cluster/{cluster_name}": "owned"}}, discovery],
                "metadataOptions": {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1},
                "blockDeviceMappings": [
                    # Bottlerocket keeps images and pods' files on the second volume.
                    {
                        "deviceName": device,
                        "ebs": {
                            "volumeSize": f"{size}Gi",
                            "volumeType": "gp3",
                            "encrypted": True,
                            "kmsKeyID": self._args.node_key_arn,
                            "deleteOnTermination": True,
                        },
                    }
                    for device, size in (("/dev/xvda", 4), ("/dev/xvdb", volume_gb))
                ],
                "tags": {**scope.tags("cluster"), "Name": scope.name(kind)},
            },
            opts=self.child(provider=cluster.kubernetes, depends_on=self.ready),
        )

    def _node_pool(
        self,
        pool: str,
        kind: str,
        requirements: list[dict[str, Any]],
        limits: dict[str, str],
        *,
        weight: int,
        taints: list[dict[str, str]] | None = None,
    ) -> None:
        region = self.scope.region
        spec: dict[str, Any] = {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": kind},
            "requirements": [
                *requirements,
                _requirement("kubernetes.io/arch", "amd64"),
                _requirement("topology.kubernetes.io/zone", *(f"{region}{zone}" for zone in self._args.zones)),
            ],
            "expireAfter": "336h",  # two weeks, so that nodes never run an old image for long
            "terminationGracePeriod": "1h",
        }
        if taints:
            spec["taints"] = taints
        CustomResource(
            f"{self._name}-pool-{pool}",
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": pool, "labels": _labels(self.scope)},
            spec={
                "template": {"metadata": {"labels": {"groundplan/pool": pool}}, "spec": spec},
                "limits": limits,
                "weight": weight,
                "disruption": {
                    "consolidationPolicy": "WhenEmptyOrUnderutilized",
                    "consolidateAfter": "1m" if kind == "cpu" else "5m",
                    # Never more than a tenth of the nodes at once, and during the day only empty ones.
                    "budgets": [
                        {"nodes": "10%"},
                        {"nodes": "0", "schedule": "0 8 * * mon-fri", "duration": "10h", "reasons": ["Underutilized"]},
                    ],
                },
            },
            opts=self.child(provider=self._args.cluster.kubernetes, depends_on=self.ready),
        )


def _requirement(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def _labels(scope: Scope) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": scope.project, "environment": scope.stack}
