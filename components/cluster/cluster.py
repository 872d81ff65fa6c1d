"""The Kubernetes cluster: EKS with a private endpoint, a small on-demand node group, add-ons, and who has access."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import pulumi
import pulumi_aws as aws
from pulumi_kubernetes import Provider

from components.foundation.args import Args, Between, LogRetention
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import IAM_ROLE_NAME_LIMIT, make_role, service_trust

KUBERNETES_VERSION = "1.34"
SYSTEM_TAINT = "CriticalAddonsOnly"
# network policies need the VPC CNI's own agent:
# https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html
ADDONS = {
    "vpc-cni": {"enableNetworkPolicy": "true"},
    "kube-proxy": {},
    "coredns": {"tolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}]},
    "eks-pod-identity-agent": {},
    "metrics-server": {"tolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}]},
}
CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")


@dataclass(frozen=True)
class Access:
    """What a role may do in the cluster: https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html

    Attributes:
        policy: One of EKS's access policies (its last part, for example ``AmazonEKSViewPolicy``); empty for none.
        groups: Of Kubernetes, to which roles of the cluster are bound.
    """

    role_arn: pulumi.Input[str]
    policy: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClusterArgs(Args):
    """Args:
    secrets_key_arn: Encrypts Kubernetes secrets in etcd and the nodes' volumes.
    node_type: EC2 type of the system nodes.
    nodes: Number of system nodes.
    access: Who has access, by name.
    manifests_folder: Where objects are written instead of being applied; empty to apply them.
    """

    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    secrets_key_arn: pulumi.Input[str]
    node_type: str
    nodes: Annotated[int, Between(1)]
    log_retention_days: LogRetention
    access: dict[str, Access] = field(default_factory=dict)
    manifests_folder: str = ""


@dataclass(frozen=True)
class ForeignCluster:
    """A cluster that was created elsewhere; its attributes are those of ``Cluster``."""

    physical_name: str
    physical_node_role: str
    kubernetes: Provider
    ready: Sequence[pulumi.Resource] = ()
    applies: bool = True

    @property
    def cluster_name(self) -> str:
        """As in ``Cluster``."""
        return self.physical_name

    @property
    def node_role_name(self) -> str:
        """As in ``Cluster``."""
        return self.physical_node_role


class Cluster(Component):
    """EKS and what it can't start without.

    Attributes:
        physical_name, cluster_name: The cluster's name; the second waits for the cluster.
        physical_node_role, node_role_name: Role of every node, in the same way; Karpenter's nodes also use it.
        kubernetes: Provider that applies (or writes) Kubernetes objects.
        ready: What Kubernetes objects must wait for.
        applies: Whether objects are applied to a cluster. Where they are only written, Helm has no cluster to install
            charts in.
    """

    def __init__(self, name: str, scope: Scope, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("cluster")
        physical = self.physical_name = scope.name("cluster", limit=100)
        self.physical_node_role = scope.name("nodes", limit=IAM_ROLE_NAME_LIMIT)
        logs = aws.cloudwatch.LogGroup(
            f"{name}-control-plane",
            name=f"/aws/eks/{physical}/cluster",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.secrets_key_arn,
            tags=tags,
            opts=self.child(),
        )
        role = make_role(
            self,
            f"{name}-control-plane",
            service_trust(scope.account_id, "eks.amazonaws.com"),
            [Statement(("kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:CreateGrant"), (args.secrets_key_arn,))],
            purpose="cluster",
            managed=("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",),
        )
        cluster = aws.eks.Cluster(
            name,
            name=physical,
            version=KUBERNETES_VERSION,
            role_arn=role.arn,
            vpc_config={
                "subnet_ids": args.subnet_ids,
                "security_group_ids": [args.security_group_id],
                "endpoint_private_access": True,
                "endpoint_public_access": False,
            },
            access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": True},
            bootstrap_self_managed_addons=False,
            enabled_cluster_log_types=list(CONTROL_PLANE_LOGS),
            encryption_config={"provider": {"key_arn": args.secrets_key_arn}, "resources": ["secrets"]},
            deletion_protection=scope.protect,
            tags=tags,
            opts=self.child(depends_on=[logs]),
        )
        self.cluster_name = cluster.name
        nodes = self._nodes(name, args, cluster, tags)
        for addon, values in ADDONS.items():
            aws.eks.Addon(
                f"{name}-{addon}",
                cluster_name=cluster.name,
                addon_name=addon,
                configuration_values=json.dumps(values) if values else None,
                resolve_conflicts_on_update="OVERWRITE",
                tags=tags,
                # CoreDNS is not healthy before it has a node; the network must exist before a node does.
                opts=self.child(depends_on=[nodes] if addon in ("coredns", "metrics-server") else []),
            )
        for person, access in args.access.items():
            entry = aws.eks.AccessEntry(
                f"{name}-{person}",
                cluster_name=cluster.name,
                principal_arn=access.role_arn,
                type="STANDARD",
                kubernetes_groups=list(access.groups) or None,
                tags=tags,
                opts=self.child(),
            )
            if not access.policy:
                continue
            aws.eks.AccessPolicyAssociation(
                f"{name}-{person}",
                cluster_name=cluster.name,
                principal_arn=entry.principal_arn,
                policy_arn=f"arn:aws:eks::aws:cluster-access-policy/{access.policy}",
                access_scope={"type": "cluster"},
                opts=self.child(),
            )
        self.ready: list[pulumi.Resource] = [nodes]
        self.endpoint = cluster.endpoint
        self.applies = not args.manifests_folder
        if args.manifests_folder:
            self.kubernetes = Provider(
                f"{name}-kubernetes", render_yaml_to_directory=args.manifests_folder, opts=self.child()
            )
        else:
            kubeconfig = pulumi.Output.all(
                name=cluster.name, endpoint=cluster.endpoint, authority=cluster.certificate_authority.data
            ).apply(lambda found: _kubeconfig(scope.region, **found))
            self.kubernetes = Provider(f"{name}-kubernetes", kubeconfig=kubeconfig, opts=self.child())
        self.register_outputs({"cluster_name": cluster.name})

    def _nodes(self, name: str, args: ClusterArgs, cluster: aws.eks.Cluster, tags: dict[str, str]) -> aws.eks.NodeGroup:
        scope = self.scope
        role = make_role(
            self,
            f"{name}-nodes",
            Statement(("sts:AssumeRole",), principals={"Service": "ec2.amazonaws.com"}),
            purpose="nodes",
            managed=tuple(
                f"arn:aws:iam::aws:policy/{policy}"
                for policy in (
                    "AmazonEKSWorkerNodePolicy",
                    "AmazonEKS_CNI_Policy",
                    "AmazonEC2ContainerRegistryPullOnly",
                    "AmazonSSMManagedInstanceCore",
                )
            ),
        )
        self.node_role_name, self.node_role_arn = role.name, role.arn
        template = aws.ec2.LaunchTemplate(
            name,
            name=scope.name("system", limit=128),
            # The first volume is Bottlerocket's system, the second has images and pods' files.
            block_device_mappings=[
                {
                    "device_name": device,
                    "ebs": {
                        "volume_size": size,
                        "volume_type": "gp3",
                        "encrypted": "true",
                        "kms_key_id": args.secrets_key_arn,
                        "delete_on_termination": "true",
                    },
                }
                for device, size in (("/dev/xvda", 4), ("/dev/xvdb", 26))
            ],
            # Pods can't get the node's credentials: tokens are required, and don't survive a hop.
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            tag_specifications=[
                {"resource_type": kind, "tags": {**tags, "Name": scope.name("system")}}
                for kind in ("instance", "volume")
            ],
            # The cluster's own group connects nodes and control plane; the services' group gives access to
            # database and brokers.
            vpc_security_group_ids=[cluster.vpc_config.cluster_security_group_id, args.security_group_id],
            update_default_version=True,
            tags=tags,
            opts=self.child(),
        )
        return aws.eks.NodeGroup(
            name,
            cluster_name=cluster.name,
            node_group_name=scope.name("system"),
            node_role_arn=role.arn,
            subnet_ids=args.subnet_ids,
            ami_type="BOTTLEROCKET_x86_64",
            capacity_type="ON_DEMAND",
            instance_types=[args.node_type],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config={"min_size": args.nodes, "max_size": args.nodes + 1, "desired_size": args.nodes},
            update_config={"max_unavailable": 1},
            labels={"groundplan/pool": "system"},
            taints=[{"key": SYSTEM_TAINT, "effect": "PREFER_NO_SCHEDULE"}],
            node_repair_config={"enabled": True},
            tags=tags,
            # The schedule of an environment that sleeps changes these.
            opts=self.child(ignore_changes=["scalingConfig.desiredSize", "scalingConfig.minSize"]),
        )


def _kubeconfig(region: str, name: str, endpoint: str, authority: str) -> str:
    """A kubeconfig that gets a token from the AWS CLI, so that no credential is in the state.

    https://docs.aws.amazon.com/eks/latest/userguide/create-kubeconfig.html
    """
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["--region", region, "eks", "get-token", "--cluster-name", name],
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": {"exec": command}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
    )
