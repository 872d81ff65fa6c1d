"""What a stack needs in an account, read from the resources that its program creates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from groundplan.review.permissions.stack import Made

# Karpenter has no permission to create its role: https://karpenter.sh/docs/troubleshooting/#missing-service-linked-role
SPOT = "spot.amazonaws.com"
# Roles that services create for themselves, by the type of resource that first needs them; all but the one for spot are
# created on first use. https://docs.aws.amazon.com/IAM/latest/UserGuide/using-service-linked-roles.html
SERVICE_LINKED = {
    "aws:eks/cluster:Cluster": ("eks.amazonaws.com", "AWSServiceRoleForAmazonEKS"),
    "aws:eks/nodeGroup:NodeGroup": ("eks-nodegroup.amazonaws.com", "AWSServiceRoleForAmazonEKSNodegroup"),
    "aws:rds/instance:Instance": ("rds.amazonaws.com", "AWSServiceRoleForRDS"),
    "aws:msk/cluster:Cluster": ("kafka.amazonaws.com", "AWSServiceRoleForKafka"),
    "aws:msk/serverlessCluster:ServerlessCluster": ("kafka.amazonaws.com", "AWSServiceRoleForKafka"),
    "aws:guardduty/detector:Detector": ("guardduty.amazonaws.com", "AWSServiceRoleForAmazonGuardDuty"),
    "aws:backup/vault:Vault": ("backup.amazonaws.com", "AWSServiceRoleForBackup"),
    "kubernetes:karpenter.sh/v1:NodePool": (SPOT, "AWSServiceRoleForEC2Spot"),
}
# IAM's name of a service, where it differs from that of Pulumi's module.
_SERVICES = {
    "msk": ("kafka",),
    "cloudwatch": ("cloudwatch", "logs", "events"),
    "cfg": ("config",),
    "cognito": ("cognito-idp",),
    "amp": ("aps",),
    "appautoscaling": ("application-autoscaling",),
    "vpc": ("ec2",),
    "costexplorer": ("ce",),
    "accessanalyzer": ("access-analyzer",),
    "lb": ("elasticloadbalancing",),
}


@dataclass(frozen=True)
class Needs:
    """What the account must have.

    Attributes:
        zones: Availability zones by name.
        instance_types: EC2 types that a node may have; one of each tuple is enough.
        endpoints: Number of SageMaker instances by type.
        counts: Numbers of other resources, by the quota's name.
        linked: Service-linked roles: service and name.
        services: AWS services, as IAM names them.
        connections: ARNs of connections to a repository's host.
    """

    zones: tuple[str, ...]
    instance_types: tuple[tuple[str, ...], ...]
    endpoints: Mapping[str, int]
    counts: Mapping[str, int]
    linked: tuple[tuple[str, str], ...]
    services: tuple[str, ...]
    gpus: int = 0
    cpus: int = 0
    connections: tuple[str, ...] = ()


def needs(resources: Iterable[Made]) -> Needs:
    """What the resources of a stack need; every input must be known."""
    everything = list(resources)
    by_type = Counter(item.type for item in everything)
    zones = sorted(
        {
            str(item.inputs["availabilityZone"])
            for item in everything
            if item.type == "aws:ec2/subnet:Subnet" and "availabilityZone" in item.inputs
        }
    )
    types, endpoints, gpus, cpus = list[tuple[str, ...]](), Counter[str](), 0, 0
    linked = dict[str, str]()
    services, connections = {"sts", "iam", "kms", "s3", "tag"}, set[str]()
    for item in everything:
        service = SERVICE_LINKED.get(item.type)
        if item.type == "aws:eks/nodeGroup:NodeGroup" and item.inputs.get("instanceTypes"):
            types.append(tuple(item.inputs["instanceTypes"]))
        elif item.type == "aws:sagemaker/endpointConfiguration:EndpointConfiguration":
            for variant in item.inputs.get("productionVariants", ()):
                if variant.get("instanceType"):
                    endpoints[variant["instanceType"]] += int(variant.get("initialInstanceCount", 1))
        elif item.type == "aws:codebuild/project:Project" and (
            arn := ((item.inputs.get("source") or {}).get("auth") or {}).get("resource")
        ):
            connections.add(arn)
            services.add(arn.split(":")[2])
        elif item.inputs.get("kind") == "NodePool":
            service = SERVICE_LINKED["kubernetes:karpenter.sh/v1:NodePool"]
            spec = item.inputs["spec"]
            for rule in spec["template"]["spec"]["requirements"]:
                if rule["key"] == "node.kubernetes.io/instance-type":
                    types.append(tuple(rule["values"]))
            gpus = max(gpus, int(spec.get("limits", {}).get("nvidia.com/gpu", 0)))
            cpus = max(cpus, int(spec.get("limits", {}).get("cpu", 0)))
        if service:
            linked[service[0]] = service[1]
        if item.type.startswith("aws:"):
            module = item.type.split(":")[1].partition("/")[0]
            services |= {*_SERVICES.get(module, (module,))}
    interface = sum(
        item.type == "aws:ec2/vpcEndpoint:VpcEndpoint" and item.inputs.get("vpcEndpointType") == "Interface"
        for item in everything
    )
    counts = {
        "VPCs per Region": by_type["aws:ec2/vpc:Vpc"],
        "EC2-VPC Elastic IPs": by_type["aws:ec2/eip:Eip"],
        "NAT gateways per Availability Zone": min(1, by_type["aws:ec2/natGateway:NatGateway"]),
        "Interface VPC endpoints per VPC": interface,
    }
    return Needs(
        tuple(zones),
        tuple(dict.fromkeys(types)),
        endpoints,
        counts,
        tuple(sorted(linked.items())),
        tuple(sorted(services)),
        gpus,
        cpus,
        tuple(sorted(connections)),
    )
