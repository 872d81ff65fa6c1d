"""The private network: subnets without a way in, and gateway endpoints so that S3 and DynamoDB stay inside."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope


@dataclass(frozen=True)
class NetworkArgs:
    """Args:
    zones: How many availability zones, 2 to 3. Their names are the region's first letters, so that no look-up
        is needed to preview.
    cidr: Address range of the VPC; each zone gets a /20 of it.
    """

    zones: int
    cidr: str = "10.40.0.0/16"


class Network(Component):
    """VPC, private subnets, one route table, gateway endpoints, and a security group for services among themselves."""

    def __init__(self, name: str, scope: Scope, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("network")
        vpc = aws.ec2.Vpc(
            name, cidr_block=args.cidr, enable_dns_hostnames=True, enable_dns_support=True, tags={**tags, "Name": scope.name("vpc")}, opts=self.child()
        )
        base = args.cidr.split(".")
        self.subnet_ids: list[pulumi.Output[str]] = []
        routes = aws.ec2.RouteTable(f"{name}-private", vpc_id=vpc.id, tags={**tags, "Name": scope.name("private")}, opts=self.child())
        for index in range(args.zones):
            zone = "abc"[index]
            subnet = aws.ec2.Subnet(
                f"{name}-private-{zone}",
                vpc_id=vpc.id,
                availability_zone=f"{scope.region}{zone}",
                cidr_block=f"{base[0]}.{base[1]}.{index * 16}.0/20",
                map_public_ip_on_launch=False,
                tags={**tags, "Name": scope.name("private", zone)},
                opts=self.child(),
            )
            aws.ec2.RouteTableAssociation(f"{name}-private-{zone}", subnet_id=subnet.id, route_table_id=routes.id, opts=self.child())
            self.subnet_ids.append(subnet.id)
        for service in ("s3", "dynamodb"):
            aws.ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=vpc.id,
                service_name=f"com.amazonaws.{scope.region}.{service}",
                vpc_endpoint_type="Gateway",
                route_table_ids=[routes.id],
                tags={**tags, "Name": scope.name(service)},
                opts=self.child(),
            )
        group = aws.ec2.SecurityGroup(
            f"{name}-services", name=scope.name("services"), description="Platform services among themselves", vpc_id=vpc.id, tags=tags, opts=self.child()
        )
        # Kafka over TLS with IAM (9098), PostgreSQL (5432) and HTTPS (443), from members of the group only.
        for port in (443, 5432, 9098):
            for rule in (aws.vpc.SecurityGroupIngressRule, aws.vpc.SecurityGroupEgressRule):
                rule(
                    f"{name}-services-{port}",
                    security_group_id=group.id,
                    referenced_security_group_id=group.id,
                    ip_protocol="tcp",
                    from_port=port,
                    to_port=port,
                    opts=self.child(),
                )
        # To the gateway endpoints of S3 and DynamoDB. The subnets have no other way out, so "anywhere" is no farther than these.
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-services-gateways", security_group_id=group.id, cidr_ipv4="0.0.0.0/0", ip_protocol="tcp", from_port=443, to_port=443, opts=self.child()
        )
        self.vpc_id = vpc.id
        self.security_group_id = group.id
        self.register_outputs({"vpc_id": vpc.id, "subnet_ids": self.subnet_ids, "security_group_id": group.id})
