"""The private network: subnets without ingress, NAT for egress, private endpoints of AWS services, and flow logs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between, LogRetention
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust

POSTGRES, KAFKA_IAM = 5432, 9098


@dataclass(frozen=True, kw_only=True)
class NetworkArgs(Args):
    """Args:
    zones: Letters of the availability zones, 2 to 3, so that no look-up is needed to preview.
    nat_gateways: 0, 1, or one for each zone.
    private_services: Services reached through interface endpoints, for example ``kms``. S3 and DynamoDB always have
        gateway endpoints, which cost nothing.
    log_key_arn: Encrypts the flow log.
    private_ports: Ports of load balancers inside the VPC that services may call.
    cidr: Address range of the VPC, a /16. Each zone gets a private /19; public /24s are at its end.
    """

    zones: tuple[str, ...]
    nat_gateways: Annotated[int, Between(0)]
    private_services: tuple[str, ...]
    log_key_arn: pulumi.Input[str]
    log_retention_days: LogRetention
    private_ports: tuple[int, ...] = ()
    cidr: str = "10.40.0.0/16"


class Network(Component):
    """VPC, private and (for NAT only) public subnets, routes, endpoints, security groups, flow log.

    Attributes:
        vpc_id: The VPC.
        subnet_ids: Private subnets, one per zone.
        route_table_ids: Route tables of the private subnets.
        security_group_id: Group of the platform's services, which may talk to each other.
    """

    def __init__(self, name: str, scope: Scope, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args, self._tags = name, args, scope.tags("network")
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={**self._tags, "Name": scope.name("vpc")},
            opts=self.child(),
        )
        self.vpc_id = vpc.id
        # AWS creates this group with rules that allow its members to talk; adopting it without rules closes it.
        aws.ec2.DefaultSecurityGroup(
            name, vpc_id=vpc.id, tags={**self._tags, "Name": scope.name("closed")}, opts=self.child()
        )
        self.subnet_ids: list[pulumi.Output[str]] = []
        self.route_table_ids: list[pulumi.Output[str]] = []
        gateways = self._nat_gateways()
        private = islice(ipaddress.ip_network(args.cidr).subnets(new_prefix=19), len(args.zones))
        for index, (zone, block) in enumerate(zip(args.zones, private, strict=True)):
            # Karpenter finds its subnets by tag, and Kubernetes those of its internal load balancers.
            more = {
                "Name": scope.name("private", zone),
                "kubernetes.io/role/internal-elb": "1",
                "karpenter.sh/discovery": scope.name("cluster", limit=100),
            }
            subnet = self._subnet("private", zone, str(block), more)
            routes = aws.ec2.RouteTable(
                f"{name}-private-{zone}",
                vpc_id=vpc.id,
                tags={**self._tags, "Name": scope.name("private", zone)},
                opts=self.child(),
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-private-{zone}", subnet_id=subnet.id, route_table_id=routes.id, opts=self.child()
            )
            if gateways:
                gateway = gateways[index % len(gateways)]
                aws.ec2.Route(
                    f"{name}-private-{zone}",
                    route_table_id=routes.id,
                    destination_cidr_block="0.0.0.0/0",
                    nat_gateway_id=gateway.id,
                    opts=self.child(),
                )
            self.subnet_ids.append(subnet.id)
            self.route_table_ids.append(routes.id)
        self.security_group_id = self._services_group()
        self._endpoints()
        self._flow_log()
        self.register_outputs(
            {"vpc_id": vpc.id, "subnet_ids": self.subnet_ids, "security_group_id": self.security_group_id}
        )

    def _subnet(self, kind: str, zone: str, block: str, tags: dict[str, str]) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"{self._name}-{kind}-{zone}",
            vpc_id=self.vpc_id,
            availability_zone=f"{self.scope.region}{zone}",
            cidr_block=block,
            map_public_ip_on_launch=False,
            tags={**self._tags, **tags},
            opts=self.child(),
        )

    def _nat_gateways(self) -> list[aws.ec2.NatGateway]:
        """Public subnets contain nothing else."""
        name, zones = self._name, self._args.zones[: self._args.nat_gateways]
        if not zones:
            return []
        internet = aws.ec2.InternetGateway(
            name, vpc_id=self.vpc_id, tags={**self._tags, "Name": self.scope.name("internet")}, opts=self.child()
        )
        routes = aws.ec2.RouteTable(
            f"{name}-public",
            vpc_id=self.vpc_id,
            tags={**self._tags, "Name": self.scope.name("public")},
            opts=self.child(),
        )
        aws.ec2.Route(
            f"{name}-public",
            route_table_id=routes.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=internet.id,
            opts=self.child(),
        )
        gateways = []
        public = list(ipaddress.ip_network(self._args.cidr).subnets(new_prefix=24))[-len(zones) :]
        for zone, block in zip(zones, public, strict=True):
            subnet = self._subnet("public", zone, str(block), {"Name": self.scope.name("public", zone)})
            aws.ec2.RouteTableAssociation(
                f"{name}-public-{zone}", subnet_id=subnet.id, route_table_id=routes.id, opts=self.child()
            )
            tags = {**self._tags, "Name": self.scope.name("nat", zone)}
            address = aws.ec2.Eip(f"{name}-{zone}", domain="vpc", tags=tags, opts=self.child())
            gateways.append(
                aws.ec2.NatGateway(
                    f"{name}-{zone}",
                    subnet_id=subnet.id,
                    allocation_id=address.allocation_id,
                    tags=tags,
                    opts=self.child(),
                )
            )
        return gateways

    def _services_group(self) -> pulumi.Output[str]:
        name, scope = self._name, self.scope
        group = aws.ec2.SecurityGroup(
            f"{name}-services",
            name=scope.name("services", limit=255),
            description="Platform services among themselves",
            vpc_id=self.vpc_id,
            tags={**self._tags, "karpenter.sh/discovery": scope.name("cluster", limit=100)},
            opts=self.child(),
        )
        # Kafka over TLS with IAM (9098), PostgreSQL (5432) and HTTPS (443), from members of the group only.
        for port in (443, POSTGRES, KAFKA_IAM):
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
        for port in self._args.private_ports:
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-services-vpc-{port}",
                security_group_id=group.id,
                cidr_ipv4=self._args.cidr,
                ip_protocol="tcp",
                from_port=port,
                to_port=port,
                opts=self.child(),
            )
        # To the gateway endpoints, and through NAT for images and packages. Only TLS may leave.
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-services-tls",
            security_group_id=group.id,
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=self.child(),
        )
        group_id: pulumi.Output[str] = group.id
        return group_id

    def _endpoints(self) -> None:
        name, region = self._name, self.scope.region
        for service in ("s3", "dynamodb"):
            aws.ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{region}.{service}",
                vpc_endpoint_type="Gateway",
                route_table_ids=self.route_table_ids,
                tags={**self._tags, "Name": self.scope.name(service)},
                opts=self.child(),
            )
        for service in self._args.private_services:
            aws.ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{region}.{service}",
                vpc_endpoint_type="Interface",
                subnet_ids=self.subnet_ids,
                security_group_ids=[self.security_group_id],
                private_dns_enabled=True,
                tags={**self._tags, "Name": self.scope.name(service)},
                opts=self.child(),
            )

    def _flow_log(self) -> None:
        name, scope, args = self._name, self.scope, self._args
        logs = aws.cloudwatch.LogGroup(
            f"{name}-flow",
            name=f"/{scope.project}/{scope.stack}/network",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.log_key_arn,
            tags=self._tags,
            opts=self.child(),
        )
        group = f"arn:aws:logs:{scope.region}:{scope.account_id}:log-group:/{scope.project}/{scope.stack}/network"
        role = make_role(
            self,
            f"{name}-flow",
            service_trust(scope.account_id, "vpc-flow-logs.amazonaws.com"),
            [
                Statement(
                    ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"), (group, f"{group}:*")
                )
            ],
            purpose="flow-log",
        )
        aws.ec2.FlowLog(
            name,
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination=logs.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=600,
            tags=self._tags,
            opts=self.child(),
        )
