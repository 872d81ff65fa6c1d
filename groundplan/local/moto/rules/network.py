"""The network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _tags(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": _pairs(inputs["tags"])}] if inputs.get("tags") else []


def _vpc_dns(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    vpc = answer["Vpc"]["VpcId"]
    for key, attribute in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")):
        if key in inputs:
            cloud.call("ec2", "ModifyVpcAttribute", {"VpcId": vpc, attribute: {"Value": inputs[key]}})


def _group_rule(operation: str) -> Callable[[Cloud, Inputs], Made]:
    """How a rule of a security group is created; ingress and egress differ only in the operation."""

    def make(cloud: Cloud, inputs: Inputs) -> Made:
        permission: dict[str, Any] = {
            "IpProtocol": inputs["ipProtocol"],
            "FromPort": int(inputs["fromPort"]),
            "ToPort": int(inputs["toPort"]),
        }
        if group := inputs.get("referencedSecurityGroupId"):
            permission["UserIdGroupPairs"] = [{"GroupId": group}]
        if cidr := inputs.get("cidrIpv4"):
            permission["IpRanges"] = [{"CidrIp": cidr}]
        answer = cloud.call("ec2", operation, {"GroupId": inputs["securityGroupId"], "IpPermissions": [permission]})
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"], {}

    return make


def _internet_gateway(cloud: Cloud, inputs: Inputs) -> Made:
    gateway = cloud.call("ec2", "CreateInternetGateway", {"TagSpecifications": _tags("internet-gateway", inputs)})[
        "InternetGateway"
    ]["InternetGatewayId"]
    cloud.call("ec2", "AttachInternetGateway", {"InternetGatewayId": gateway, "VpcId": inputs["vpcId"]})
    return gateway, {}


def _close_default_group(cloud: Cloud, inputs: Inputs) -> Made:
    """Takes the VPC's default group over and removes every rule."""
    filters = [{"Name": "vpc-id", "Values": [inputs["vpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    group = cloud.call("ec2", "DescribeSecurityGroups", {"Filters": filters})["SecurityGroups"][0]
    for permissions, operation in (
        ("IpPermissions", "RevokeSecurityGroupIngress"),
        ("IpPermissionsEgress", "RevokeSecurityGroupEgress"),
    ):
        if group[permissions]:
            cloud.call("ec2", operation, {"GroupId": group["GroupId"], "IpPermissions": group[permissions]})
    if tags := inputs.get("tags"):
        cloud.call("ec2", "CreateTags", {"Resources": [group["GroupId"]], "Tags": _pairs(tags)})
    return group["GroupId"], {}


def _flow_log(cloud: Cloud, inputs: Inputs) -> Made:
    answer = cloud.call(
        "ec2",
        "CreateFlowLogs",
        {
            "ResourceIds": [inputs["vpcId"]],
            "ResourceType": "VPC",
            "TrafficType": inputs["trafficType"],
            "LogDestinationType": "cloud-watch-logs",
            "LogDestination": inputs["logDestination"],
            "DeliverLogsPermissionArn": inputs["iamRoleArn"],
            "MaxAggregationInterval": int(inputs["maxAggregationInterval"]),
            "TagSpecifications": _tags("vpc-flow-log", inputs),
        },
    )
    return answer["FlowLogIds"][0], {}


def _template_data(inputs: Inputs) -> Inputs:
    def device(item: dict[str, Any]) -> dict[str, Any]:
        ebs = item["ebs"]
        return {
            "DeviceName": item["deviceName"],
            "Ebs": {
                "VolumeSize": int(ebs["volumeSize"]),
                "VolumeType": ebs["volumeType"],
                "Encrypted": ebs["encrypted"] == "true",
                "KmsKeyId": ebs["kmsKeyId"],
                "DeleteOnTermination": ebs["deleteOnTermination"] == "true",
            },
        }

    options = inputs["metadataOptions"]
    return {
        "BlockDeviceMappings": [device(item) for item in inputs.get("blockDeviceMappings", [])],
        "MetadataOptions": {
            "HttpEndpoint": options["httpEndpoint"],
            "HttpTokens": options["httpTokens"],
            "HttpPutResponseHopLimit": int(options["httpPutResponseHopLimit"]),
        },
        "SecurityGroupIds": inputs.get("vpcSecurityGroupIds", []),
        "TagSpecifications": [
            {"ResourceType": item["resourceType"], "Tags": [{"Key": k, "Value": v} for k, v in item["tags"].items()]}
            for item in inputs.get("tagSpecifications", [])
        ],
    }


def _new_template(cloud: Cloud, inputs: Inputs, template: str) -> Inputs:
    """A changed template is its next version."""
    answer = cloud.call(
        "ec2",
        "CreateLaunchTemplateVersion",
        {"LaunchTemplateId": template, "LaunchTemplateData": _template_data(inputs)},
    )
    version = answer["LaunchTemplateVersion"]["VersionNumber"]
    if inputs.get("updateDefaultVersion"):
        cloud.call("ec2", "ModifyLaunchTemplate", {"LaunchTemplateId": template, "DefaultVersion": str(version)})
    return {"latestVersion": version}


def _launch_template(cloud: Cloud, inputs: Inputs) -> Made:
    request = {
        "LaunchTemplateName": inputs["name"],
        "LaunchTemplateData": _template_data(inputs),
        "TagSpecifications": _tags("launch-template", inputs),
    }
    answer = cloud.call("ec2", "CreateLaunchTemplate", request)["LaunchTemplate"]
    return answer["LaunchTemplateId"], {
        "latestVersion": answer["LatestVersionNumber"],
        "arn": cloud.arn("ec2", f"launch-template/{answer['LaunchTemplateId']}"),
    }


def _delete_gateway(cloud: Cloud, inputs: Inputs, gateway: str) -> None:
    if inputs.get("vpcId"):
        cloud.call("ec2", "DetachInternetGateway", {"InternetGatewayId": gateway, "VpcId": inputs["vpcId"]})
    cloud.call("ec2", "DeleteInternetGateway", {"InternetGatewayId": gateway})


def _read_nat(cloud: Cloud, inputs: Inputs, gateway: str) -> Inputs | None:
    """A deleted one is still reported for an hour."""
    found: list[Inputs] = cloud.call("ec2", "DescribeNatGateways", {"NatGatewayIds": [gateway]})["NatGateways"]
    return next((item for item in found if item.get("State") not in ("deleted", "deleting")), None)


def _read_association(cloud: Cloud, inputs: Inputs, association: str) -> Inputs | None:
    filters = [{"Name": "association.route-table-association-id", "Values": [association]}]
    tables = cloud.call("ec2", "DescribeRouteTables", {"Filters": filters})["RouteTables"]
    return next(
        (item for table in tables for item in table["Associations"] if item["RouteTableAssociationId"] == association),
        None,
    )


def _read_route(cloud: Cloud, inputs: Inputs, route: str) -> Inputs | None:
    table, _, destination = route.partition(":")
    found = cloud.call("ec2", "DescribeRouteTables", {"RouteTableIds": [table]})["RouteTables"]
    return next(
        (item for one in found for item in one["Routes"] if item.get("DestinationCidrBlock") == destination), None
    )


RULES: dict[str, Rule] = {
    "aws:ec2/vpc:Vpc": Rule(
        "ec2",
        "CreateVpc",
        rename={"enableDnsHostnames": None, "enableDnsSupport": None},
        tag_type="vpc",
        id="{answer[Vpc][VpcId]}",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:vpc/{answer[Vpc][VpcId]}"},
        then=_vpc_dns,
        delete=("DeleteVpc", {"VpcId": "{id}"}),
        read=("DescribeVpcs", {"VpcIds": "{id}"}, "Vpcs[0]"),
    ),
    "aws:ec2/subnet:Subnet": Rule(
        "ec2",
        "CreateSubnet",
        rename={"mapPublicIpOnLaunch": None},
        tag_type="subnet",  # by default neither moto nor AWS assigns a public address
        id="{answer[Subnet][SubnetId]}",
        outputs={"arn": "{answer[Subnet][SubnetArn]}"},
        delete=("DeleteSubnet", {"SubnetId": "{id}"}),
        read=("DescribeSubnets", {"SubnetIds": "{id}"}, "Subnets[0]"),
    ),
    "aws:ec2/routeTable:RouteTable": Rule(
        "ec2",
        "CreateRouteTable",
        tag_type="route-table",
        id="{answer[RouteTable][RouteTableId]}",
        delete=("DeleteRouteTable", {"RouteTableId": "{id}"}),
        read=("DescribeRouteTables", {"RouteTableIds": "{id}"}, "RouteTables[0]"),
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Rule(
        "ec2",
        "AssociateRouteTable",
        id="{answer[AssociationId]}",
        delete=("DisassociateRouteTable", {"AssociationId": "{id}"}),
        read=_read_association,
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Rule(
        "ec2",
        "CreateVpcEndpoint",
        tag_type="vpc-endpoint",
        id="{answer[VpcEndpoint][VpcEndpointId]}",
        delete=("DeleteVpcEndpoints", {"VpcEndpointIds": "{id}"}),
        read=("DescribeVpcEndpoints", {"VpcEndpointIds": "{id}"}, "VpcEndpoints[?State!='deleted'] | [0]"),
    ),
    "aws:ec2/securityGroup:SecurityGroup": Rule(
        "ec2",
        "CreateSecurityGroup",
        rename={"name": "GroupName", "revokeRulesOnDelete": None},
        tag_type="security-group",
        id="{answer[GroupId]}",
        delete=("DeleteSecurityGroup", {"GroupId": "{id}"}),
        read=("DescribeSecurityGroups", {"GroupIds": "{id}"}, "SecurityGroups[0]"),
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Rule(
        "ec2",
        make=_group_rule("AuthorizeSecurityGroupIngress"),
        read=("DescribeSecurityGroupRules", {"SecurityGroupRuleIds": "{id}"}, "SecurityGroupRules[0]"),
        delete=("RevokeSecurityGroupIngress", {"GroupId": "{inputs[securityGroupId]}", "SecurityGroupRuleIds": "{id}"}),
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Rule(
        "ec2",
        make=_group_rule("AuthorizeSecurityGroupEgress"),
        read=("DescribeSecurityGroupRules", {"SecurityGroupRuleIds": "{id}"}, "SecurityGroupRules[0]"),
        delete=("RevokeSecurityGroupEgress", {"GroupId": "{inputs[securityGroupId]}", "SecurityGroupRuleIds": "{id}"}),
    ),
    "aws:ec2/internetGateway:InternetGateway": Rule(
        "ec2",
        make=_internet_gateway,
        read=("DescribeInternetGateways", {"InternetGatewayIds": "{id}"}, "InternetGateways[0]"),
        delete=_delete_gateway,
    ),
    "aws:ec2/eip:Eip": Rule(
        "ec2",
        "AllocateAddress",
        tag_type="elastic-ip",
        id="{answer[AllocationId]}",
        outputs={"allocationId": "{answer[AllocationId]}", "publicIp": "{answer[PublicIp]}"},
        delete=("ReleaseAddress", {"AllocationId": "{id}"}),
        read=("DescribeAddresses", {"AllocationIds": "{id}"}, "Addresses[0]"),
    ),
    "aws:ec2/natGateway:NatGateway": Rule(
        "ec2",
        "CreateNatGateway",
        tag_type="natgateway",
        id="{answer[NatGateway][NatGatewayId]}",
        delete=("DeleteNatGateway", {"NatGatewayId": "{id}"}),
        read=_read_nat,
    ),
    "aws:ec2/route:Route": Rule(
        "ec2",
        "CreateRoute",
        id="{inputs[routeTableId]}:{inputs[destinationCidrBlock]}",
        delete=(
            "DeleteRoute",
            {"RouteTableId": "{inputs[routeTableId]}", "DestinationCidrBlock": "{inputs[destinationCidrBlock]}"},
        ),
        read=_read_route,
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Rule(
        "ec2",
        make=_close_default_group,
        idempotent=True,
        read=("DescribeSecurityGroups", {"GroupIds": "{id}"}, "SecurityGroups[0]"),
    ),
    "aws:ec2/flowLog:FlowLog": Rule(
        "ec2",
        make=_flow_log,
        delete=("DeleteFlowLogs", {"FlowLogIds": "{id}"}),
        replaceable=True,
        read=("DescribeFlowLogs", {"FlowLogIds": "{id}"}, "FlowLogs[0]"),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Rule(
        "ec2",
        make=_launch_template,
        delete=("DeleteLaunchTemplate", {"LaunchTemplateId": "{id}"}),
        update=dict.fromkeys(
            ("blockDeviceMappings", "metadataOptions", "vpcSecurityGroupIds", "tagSpecifications"), _new_template
        ),
        read=("DescribeLaunchTemplates", {"LaunchTemplateIds": "{id}"}, "LaunchTemplates[0]"),
    ),
}
