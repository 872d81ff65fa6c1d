"""The cluster as EKS's API shows it; its Kubernetes objects are validated, then written as manifests."""

from __future__ import annotations

from typing import Any

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule
from spec.errors import GroundplanError


def _cluster(cloud: Cloud, inputs: Inputs) -> Made:
    vpc, encryption = inputs["vpcConfig"], inputs.get("encryptionConfig")
    request: dict[str, Any] = {
        "name": inputs["name"],
        "version": inputs["version"],
        "roleArn": inputs["roleArn"],
        "resourcesVpcConfig": {
            "subnetIds": vpc["subnetIds"],
            "securityGroupIds": vpc["securityGroupIds"],
            "endpointPublicAccess": vpc["endpointPublicAccess"],
            "endpointPrivateAccess": vpc["endpointPrivateAccess"],
        },
        "logging": {"clusterLogging": [{"types": inputs.get("enabledClusterLogTypes", []), "enabled": True}]},
        "tags": inputs.get("tags", {}),
    }
    if encryption:
        request["encryptionConfig"] = [
            {"resources": encryption["resources"], "provider": {"keyArn": encryption["provider"]["keyArn"]}}
        ]
    answer = cloud.call("eks", "CreateCluster", request)["cluster"]
    # moto creates no security group for the cluster; EKS does.
    group = cloud.call("ec2", "DescribeSecurityGroups", {"GroupIds": vpc["securityGroupIds"]})["SecurityGroups"][0]
    return inputs["name"], {
        "arn": answer["arn"],
        "endpoint": answer["endpoint"],
        "certificateAuthority": {"data": answer["certificateAuthority"]["data"]},
        "vpcConfig": {**vpc, "clusterSecurityGroupId": group["GroupId"]},
    }


def _read_nodes(cloud: Cloud, inputs: Inputs, group: str) -> Inputs:
    """Without what moto can't change in an existing group: its template's version, its tags."""
    asked = {"clusterName": inputs["clusterName"], "nodegroupName": inputs["nodeGroupName"]}
    found = cloud.call("eks", "DescribeNodegroup", asked)["nodegroup"]
    return {key: value for key, value in found.items() if key not in ("launchTemplate", "tags")}


def _new_nodes(cloud: Cloud, inputs: Inputs, group: str) -> None:
    wanted = {key: int(value) for key, value in inputs["scalingConfig"].items()}
    cloud.call(
        "eks",
        "UpdateNodegroupConfig",
        {"clusterName": inputs["clusterName"], "nodegroupName": inputs["nodeGroupName"], "scalingConfig": wanted},
    )


def manifest(cloud: Cloud, inputs: Inputs) -> Made:
    """Write a Kubernetes object.

    Raises:
        GroundplanError: It violates Kubernetes' API, or the definition of its custom resource.
    """
    from groundplan.engine.kubernetes.manifests import Manifest, faults

    if problems := faults(inputs, ours=True):
        raise GroundplanError(
            f"Kubernetes would refuse this {inputs['kind']}: {'; '.join(problems)}",
            fix="fix the component's arguments",
        )
    cloud.manifests(Manifest("", inputs))
    metadata = inputs["metadata"]
    balanced = (
        cloud.applies and inputs["kind"] == "Service" and (inputs.get("spec") or {}).get("type") == "LoadBalancer"
    )
    told = {"status": _balanced(cloud, inputs)} if balanced else {}
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}", told


def _balanced(cloud: Cloud, inputs: Inputs) -> dict[str, Any]:
    """What a cluster reports about a service with its own load balancer."""
    return {
        "loadBalancer": {"ingress": [{"hostname": f"{inputs['metadata']['name']}.elb.{cloud.region}.amazonaws.com"}]}
    }


RULES: dict[str, Rule] = {
    "aws:eks/cluster:Cluster": Rule(
        "eks",
        make=_cluster,
        delete=("DeleteCluster", {"name": "{id}"}),
        read=("DescribeCluster", {"name": "{id}"}, "cluster"),
    ),
    "aws:eks/nodeGroup:NodeGroup": Rule(
        "eks",
        "CreateNodegroup",
        rename={"nodeRoleArn": "nodeRole", "subnetIds": "subnets", "updateConfig": None, "nodeRepairConfig": None},
        id="{inputs[clusterName]}:{inputs[nodeGroupName]}",
        outputs={"arn": "{answer[nodegroup][nodegroupArn]}"},
        delete=(
            "DeleteNodegroup",
            {"clusterName": "{inputs[clusterName]}", "nodegroupName": "{inputs[nodeGroupName]}"},
        ),
        update={"scalingConfig": _new_nodes},
        read=_read_nodes,
    ),
}
MANIFEST = Rule(make=manifest, idempotent=True)
