"""Network exposure: nothing is reachable from the internet unless intended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from policies.control import BUCKET, Family, at, given, is_list, listed
from policies.documents import known, lets_strangers_in, policy_of
from policies.iam.documents import UNKNOWN
from policies.networks import internet_among
from policies.stack import Item, Props, Stack

EXPOSURE = Family("network exposure", ("GDPR 32(1)(b)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.6"))
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#specifying-grantee
_EVERYONE = re.compile(r"/groups/global/(AllUsers|AuthenticatedUsers)$")
_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

# Further types that hold a policy of who may use them.
_WITH_POLICY = (
    BUCKET,
    "aws:sns/topic:Topic",
    "aws:kms/keyPolicy:KeyPolicy",
    "aws:kms/replicaKey:ReplicaKey",
    "aws:kms/externalKey:ExternalKey",
    "aws:secretsmanager/secret:Secret",
    "aws:efs/fileSystemPolicy:FileSystemPolicy",
    "aws:backup/vaultPolicy:VaultPolicy",
    "aws:ecr/registryPolicy:RegistryPolicy",
    "aws:glacier/vault:Vault",
    "aws:opensearch/domain:Domain",
    "aws:opensearch/domainPolicy:DomainPolicy",
    "aws:elasticsearch/domain:Domain",
    "aws:elasticsearch/domainPolicy:DomainPolicy",
    "aws:cloudwatch/eventBusPolicy:EventBusPolicy",
    "aws:apigateway/restApi:RestApi",
    "aws:apigateway/restApiPolicy:RestApiPolicy",
    "aws:dynamodb/resourcePolicy:ResourcePolicy",
    "aws:kinesis/resourcePolicy:ResourcePolicy",
    "aws:glue/resourcePolicy:ResourcePolicy",
    "aws:redshift/resourcePolicy:ResourcePolicy",
    "aws:codebuild/resourcePolicy:ResourcePolicy",
    "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy",
    "aws:s3/accessPoint:AccessPoint",
    "aws:s3control/accessPointPolicy:AccessPointPolicy",
    "aws:s3tables/tableBucketPolicy:TableBucketPolicy",
    "aws:codeartifact/domainPermissions:DomainPermissions",
    "aws:codeartifact/repositoryPermissionsPolicy:RepositoryPermissionsPolicy",
    "aws:mediastore/containerPolicy:ContainerPolicy",
    "aws:ses/identityPolicy:IdentityPolicy",
    "aws:sesv2/emailIdentityPolicy:EmailIdentityPolicy",
    "aws:lambda/resourcePolicy:ResourcePolicy",
)

EXPOSURE.setting(
    "eks-private-endpoint",
    "The cluster's API can't be reached from the internet",
    "aws:eks/cluster:Cluster",
    "vpcConfig.endpointPublicAccess",
    False,
    severity="high",
    risk="Anybody on the internet can try stolen credentials or a flaw of Kubernetes against the cluster",
    rules=("CIS EKS 5.4.1", "CIS EKS 5.4.2", "FSBP EKS.1"),
    url="https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html",
    applies=lambda props: not _only_from_offices(props),
)
EXPOSURE.setting(
    "redshift-private",
    "Warehouses have no public address",
    "aws:redshift/cluster:Cluster",
    "publiclyAccessible",
    False,
    absent=False,  # since version 7 of the provider, and by AWS itself since 2025
    severity="critical",
    risk="With one wrong firewall rule, anybody on the internet can try passwords against the warehouse",
    rules=("FSBP Redshift.1",),
    url="https://docs.aws.amazon.com/redshift/latest/mgmt/managing-clusters-vpc.html",
)


@EXPOSURE.resource(
    "rds-private",
    "Databases have no public address",
    "aws:rds/instance:Instance",
    "aws:rds/clusterInstance:ClusterInstance",
    severity="critical",
    rules=("CIS AWS 3.2.3", "FSBP RDS.2"),
    fix="Set publicly_accessible to False.",
    risk="One firewall rule too many, and anybody on the internet can attack the database directly",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html",
)
def database_private(props: Props) -> Iterator[str]:
    """No public address."""
    if props.get("publiclyAccessible"):
        yield "The database can be reached from the internet"


@EXPOSURE.resource(
    "s3-no-public-access",
    "Public access blocks are complete",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock",
    "aws:s3/accessPoint:AccessPoint",
    severity="critical",
    rules=("CIS AWS 3.1.4", "FSBP S3.1", "FSBP S3.8"),
    fix="Set all four blocks to True.",
    risk="One careless permission may publish a bucket's files to everybody on the internet",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
)
def public_access_blocked(props: Props) -> Iterator[str]:
    """All four blocks are on; an access point has all of them unless it says otherwise."""
    if given(props, "publicAccessBlockConfiguration"):
        props = dict.fromkeys(_BLOCKS, True) | known(at(props, "publicAccessBlockConfiguration"))
    elif not any(given(props, block) for block in _BLOCKS) and given(props, "name"):
        return
    if off := [block for block in _BLOCKS if props.get(block) is not True]:
        yield f"{', '.join(off)} {'is' if len(off) == 1 else 'are'} off"


@EXPOSURE.each(
    "s3-public-access-block",
    "Every bucket has a public access block",
    BUCKET,
    beside=(
        "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    ),
    severity="high",
    rules=("CIS AWS 3.1.4", "FSBP S3.8"),
    fix="Create a BucketPublicAccessBlock for it.",
    risk="Only AWS's default keeps a mistake from publishing the files, and it may be switched off unnoticed",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
)
def bucket_blocked(bucket: Item, stack: Stack) -> Iterator[str]:
    """Its own, or the account's; whether it is complete is another control's matter."""
    if any(stack.of("aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock")):
        return
    if not stack.companions(bucket, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "bucket"):
        yield "The bucket has no public access block"


@EXPOSURE.resource(
    "s3-no-public-acl",
    "No access control list opens a bucket or an object",
    "aws:s3/bucketAcl:BucketAcl",
    BUCKET,
    "aws:s3/bucketObject:BucketObject",
    "aws:s3/bucketObjectv2:BucketObjectv2",
    "aws:s3/objectCopy:ObjectCopy",
    severity="critical",
    rules=("FSBP S3.2", "FSBP S3.3"),
    fix="Omit acl; grant access by policy.",
    risk="Everybody on the internet, or with an AWS account, can see what the bucket holds, or even change it",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html",
)
def no_public_acl(props: Props) -> Iterator[str]:
    """No canned list that includes everyone, and no grant to a group of everyone."""
    grants = [*listed(at(props, "accessControlPolicy.grants")), *listed(props.get("grants"))]
    for grant in grants:
        if _EVERYONE.search(str(at(grant, "grantee.uri") or grant.get("uri") or "")):
            yield "A grant of its access control list opens it to everybody"
    if str(props.get("acl", "")).startswith("public-") or props.get("acl") == "authenticated-read":
        yield f"The access control list {props['acl']!r} opens it to everybody"


@EXPOSURE.resource(
    "policy-not-public",
    "No resource policy allows everyone",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:sns/topicPolicy:TopicPolicy",
    "aws:sqs/queuePolicy:QueuePolicy",
    "aws:sqs/queue:Queue",
    "aws:kms/key:Key",
    "aws:ecr/repositoryPolicy:RepositoryPolicy",
    "aws:secretsmanager/secretPolicy:SecretPolicy",
    *_WITH_POLICY,
    severity="critical",
    rules=("CIS AWS 2.21", "FSBP S3.2", "FSBP S3.3", "FSBP SNS.4", "FSBP SQS.3", "FSBP KMS.5"),
    fix="Name the principals, or add a condition on account or organization.",
    risk="Strangers can do what the policy allows: read data, send messages, use keys or fetch software",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html",
)
def policy_not_public(props: Props) -> Iterator[str]:
    """No statement lets a stranger in; conditions count as AWS evaluates them. What only a network of the company
    reaches is not open to strangers.
    """
    if given(props, "vpcOptions") or "PRIVATE" in listed(at(props, "endpointConfiguration.types")):
        return
    for key in ("policy", "accessPolicies", "accessPolicy", "resourcePolicy"):
        for statement in lets_strangers_in(policy_of(props, key)) if given(props, key) else ():
            yield f"Everybody is allowed {', '.join(statement.actions or ('everything but what it names',))}"


_METADATA_DEFAULTS = "aws:ec2/instanceMetadataDefaults:InstanceMetadataDefaults"
_RULES = (
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
)
_LIST = "aws:ec2/managedPrefixList:ManagedPrefixList"
_ENTRY = "aws:ec2/managedPrefixListEntry:ManagedPrefixListEntry"
_WEB = (80, 443)  # what FSBP EC2.18 leaves open to everybody


@EXPOSURE.resource(
    "no-open-ingress",
    "No security group lets the internet in",
    *_RULES,
    severity="critical",
    rules=("CIS AWS 6.1.2", "CIS AWS 6.3", "CIS AWS 6.4", "FSBP EC2.18", "FSBP EC2.19"),
    fix="Name the security group or the private range that is allowed.",
    risk="Attackers, who scan the whole internet, find the service and try its flaws and weak passwords",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html",
)
def no_open_ingress(props: Props) -> Iterator[str]:
    """No rule takes traffic from anywhere, except for a web server's."""
    for text, ports, is_web in _open_rules(props):
        if not is_web:
            yield f"Traffic from {text} to {ports} is allowed in"


@EXPOSURE.resource(
    "web-ingress-intended",
    "What the internet may request is meant to be public",
    *_RULES,
    severity="low",
    fix="Name the range that is allowed; if it serves the public, waive this with the reason.",
    risk="An internal website may be open to everybody on the internet without anybody having decided so",
    url="https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-18",
)
def web_ingress(props: Props) -> Iterator[str]:
    """Ports 80 and 443 alone."""
    for text, ports, is_web in _open_rules(props):
        if is_web:
            yield f"Traffic from {text} to {ports} is allowed in"


@EXPOSURE.each(
    "no-open-prefix-list",
    "No security group lets the internet in by a list of ranges",
    *_RULES,
    beside=(_LIST, _ENTRY),
    severity="critical",
    rules=("CIS AWS 6.3", "CIS AWS 6.4", "FSBP EC2.18", "FSBP EC2.19"),
    fix="Take the range out of the prefix list, or name another list in the rule.",
    risk="Attackers reach the service, though the rule itself looks as if it named a few known networks",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html",
)
def no_open_prefix_list(item: Item, stack: Stack) -> Iterator[str]:
    """No prefix list that a rule names holds the internet, except for a web server's rule."""
    if item.props.get("type") == "egress":
        return
    rules = listed(item.props.get("ingress")) if given(item.props, "ingress") else [item.props]
    named = [_ports(rule) for rule in rules if given(rule, "prefixListIds") or given(rule, "prefixListId")]
    ports = [text for text, is_web in named if not is_web]
    for prefix_list in _lists_of(item, stack) if ports else ():
        entries = [*listed(prefix_list.props.get("entries")), *_entries_of(prefix_list, stack)]
        for text in internet_among(str(entry["cidr"]) for entry in entries):
            yield f"Traffic from {text}, which the prefix list {prefix_list.name} holds, to {ports[0]} is allowed in"


def _lists_of(item: Item, stack: Stack) -> list[Item]:
    found = [one for key in ("ingress", "prefixListIds", "prefixListId") for one in stack.about(item, key, _LIST)]
    return list({one.urn: one for one in found}.values())


def _entries_of(prefix_list: Item, stack: Stack) -> list[Props]:
    """Entries that are resources of their own."""
    return [entry.props for entry in stack.companions(prefix_list, _ENTRY, "prefixListId")]


def _open_rules(props: Props) -> Iterator[tuple[str, str, bool]]:
    """Rules that take traffic from the internet: the range, the ports, and whether they are a web server's.

    Raises:
        UnknownValueError: A range is known only after deployment; those that are known have been yielded.
    """
    inside = listed(props.get("ingress")) if given(props, "ingress") else []
    own = props.get("type") == "ingress" or given(props, "cidrIpv4") or given(props, "cidrIpv6")
    unknown: list[UnknownValueError] = []
    for place in [*([props] if own else []), *inside]:
        ranges = list[str]()
        for key in ("cidrIpv4", "cidrIpv6", "cidrBlocks", "ipv6CidrBlocks"):
            ranges += _each(place, key, unknown)
        for text in () if _harmless(place) else internet_among(ranges):
            yield text, *_ports(place)
    if unknown:
        raise unknown[0]


def _harmless(rule: Props) -> bool:
    """Whether it takes only ICMP's messages about packets that are too big, which AWS recommends to let in, and about
    unreachable and expired ones.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html#path_mtu_discovery
    """
    plain = known(rule)
    protocol = str(plain.get("protocol", plain.get("ipProtocol", ""))).lower()
    kinds = {"icmp": (3, 11), "1": (3, 11), "icmpv6": (1, 2, 3), "58": (1, 2, 3)}.get(protocol, ())
    return plain.get("fromPort") in kinds


def _ports(rule: Props) -> tuple[str, bool]:
    """The ports of a rule, as a message calls them, and whether they are a web server's."""
    plain = known(rule)
    protocol = str(plain.get("protocol", plain.get("ipProtocol", "-1"))).lower()
    first, last = plain.get("fromPort"), plain.get("toPort")
    if protocol in ("-1", "all"):
        return "every port", False
    if UNKNOWN in (protocol, first, last) or first is None or last is None:
        return f"{protocol} ports", False
    if protocol.startswith("icmp") or protocol in ("1", "58"):
        return ("ICMP" if first == -1 else f"ICMP type {first:g}"), False
    name = {"6": "TCP", "17": "UDP"}.get(protocol, protocol.upper())
    ports = f"{name} port {first:g}" if first == last else f"{name} ports {first:g} to {last:g}"
    return ports, name == "TCP" and first == last and first in _WEB


def _only_from_offices(props: Props) -> bool:
    """Whether the endpoint's public address takes only the ranges that are named, and they are not the internet."""
    ranges = listed(at(props, "vpcConfig.publicAccessCidrs"))
    return bool(ranges) and not internet_among(map(str, ranges))


def _each(place: Props, key: str, unknown: list[UnknownValueError]) -> Iterator[str]:
    """The known texts of an input; of an unknown one the error is kept."""
    try:
        value: Any = place[key] if given(place, key) else None
    except UnknownValueError as error:
        unknown.append(error)
        return
    for index in range(len(value) if is_list(value) else 0):
        try:
            yield str(value[index])
        except UnknownValueError as error:
            unknown.append(error)
    if isinstance(value, str):
        yield value


@EXPOSURE.resource(
    "default-group-closed",
    "A VPC's default security group is closed",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    severity="medium",
    rules=("CIS AWS 6.5", "FSBP EC2.2"),
    fix="Omit ingress and egress.",
    risk="A machine created without choosing a group gets this one, with connections that nobody meant to allow",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html",
)
def default_closed(props: Props) -> Iterator[str]:
    """No rules."""
    for direction in ("ingress", "egress"):
        if given(props, direction) and listed(props[direction]):
            yield f"It has {direction} rules"


@EXPOSURE.each(
    "default-group-taken-over",
    "Every VPC's default security group is taken over and closed",
    "aws:ec2/vpc:Vpc",
    beside=("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",),
    severity="medium",
    rules=("CIS AWS 6.5", "FSBP EC2.2"),
    fix="Create a DefaultSecurityGroup without rules for the VPC.",
    risk="A machine created without choosing a group can reach, and be reached by, all others like it",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html",
)
def default_taken_over(vpc: Item, stack: Stack) -> Iterator[str]:
    """Whether it has rules is another control's matter."""
    if not stack.companions(vpc, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "vpcId"):
        yield "AWS creates a default group for it that lets everything talk to everything"


@EXPOSURE.resource(
    "instance-no-public-ip",
    "Instances have no public address",
    "aws:ec2/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/launchConfiguration:LaunchConfiguration",
    severity="high",
    rules=("FSBP EC2.9",),
    fix="Set associate_public_ip_address to False, and reach it through Session Manager or a load balancer.",
    risk="One wrong firewall rule is enough for anybody on the internet to attack the machine directly",
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html",
)
def instance_private(props: Props) -> Iterator[str]:
    """No public address, of its own or of one of its network interfaces."""
    for place in [props, *listed(props.get("networkInterfaces"))]:
        if place.get("associatePublicIpAddress") in (True, "true"):
            yield "The instance gets a public address"


@EXPOSURE.resource(
    "subnet-no-public-ip",
    "Subnets assign no public addresses",
    "aws:ec2/subnet:Subnet",
    severity="medium",
    rules=("FSBP EC2.15",),
    fix="Set map_public_ip_on_launch to False.",
    risk="Machines get addresses on the internet without anybody having decided that they should",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/subnet-public-ip.html",
)
def subnet_private(props: Props) -> Iterator[str]:
    """Resources in it are private unless they say otherwise."""
    if props.get("mapPublicIpOnLaunch"):
        yield "Everything that starts in it gets a public address"


@EXPOSURE.resource(
    "node-ssh-narrow",
    "Nodes of a cluster take SSH from named groups only",
    "aws:eks/nodeGroup:NodeGroup",
    severity="critical",
    fix="Set remote_access.source_security_group_ids, or omit remote_access and use Session Manager.",
    risk="Port 22 of every node is open to the internet, whose scanners find it and try stolen keys",
    url="https://docs.aws.amazon.com/eks/latest/APIReference/API_RemoteAccessConfig.html",
)
def node_ssh_narrow(props: Props) -> Iterator[str]:
    """With a key and no groups, EKS opens port 22 to everybody."""
    access = at(props, "remoteAccess")
    if given(access, "ec2SshKey") and not given(access, "sourceSecurityGroupIds"):
        yield "Traffic from 0.0.0.0/0 to TCP port 22 is allowed in"


@EXPOSURE.each(
    "instance-metadata-v2",
    "The metadata service requires a token",
    "aws:ec2/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/launchConfiguration:LaunchConfiguration",
    beside=(_METADATA_DEFAULTS,),
    severity="high",
    rules=("CIS AWS 6.7", "FSBP EC2.8", "FSBP EC2.170"),
    fix="Set metadata_options.http_tokens to required.",
    risk="A flaw in a web program on the machine is enough to steal its credentials and act in its name",
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html",
)
def metadata_tokens(machine: Item, stack: Stack) -> Iterator[str]:
    """IMDSv2, so that a forged request can't fetch the role's credentials: of the machine, its template, or the
    region's default.
    """
    templates = stack.about(machine, "launchTemplate", "aws:ec2/launchTemplate:LaunchTemplate")
    options = [at(props, "metadataOptions") for props in (machine.props, *(item.props for item in templates))]
    if any(at(item, "httpEndpoint") == "disabled" for item in options):
        return
    chosen = [at(item, "httpTokens") for item in options] + [
        item.props.get("httpTokens") for item in stack.beside(machine, _METADATA_DEFAULTS)
    ]
    if next((tokens for tokens in chosen if tokens not in (None, "no-preference")), "optional") != "required":
        yield "Any request from the instance may fetch its role's credentials"


@EXPOSURE.resource(
    "msk-not-public",
    "Kafka can't be reached from the internet",
    "aws:msk/cluster:Cluster",
    severity="critical",
    rules=("FSBP MSK.4",),
    fix="Omit broker_node_group_info.connectivity_info.public_access.",
    risk="Anybody on the internet can try stolen or guessed credentials against the message brokers",
    url="https://docs.aws.amazon.com/msk/latest/developerguide/public-access.html",
)
def kafka_private(props: Props) -> Iterator[str]:
    """No public access."""
    if at(props, "brokerNodeGroupInfo.connectivityInfo.publicAccess.type") not in (None, "DISABLED"):
        yield "Brokers have public addresses"


@EXPOSURE.resource(
    "function-url-authenticated",
    "Lambda URLs authenticate their callers",
    "aws:lambda/functionUrl:FunctionUrl",
    severity="critical",
    fix="Set authorization_type to AWS_IAM.",
    risk="Strangers can run the function as often as they like, with its permissions and at the company's cost",
    url="https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html",
)
def function_url(props: Props) -> Iterator[str]:
    """Not NONE."""
    if props.get("authorizationType") == "NONE":
        yield "Anyone on the internet may call the function"


@EXPOSURE.resource(
    "load-balancer-internal",
    "Load balancers are internal",
    "aws:lb/loadBalancer:LoadBalancer",
    severity="medium",
    fix="Set internal to True; if it is intended for the public, waive it and put a web application firewall in front.",
    risk="An internal service may be open to attacks from the whole internet without anybody wanting it",
    url="https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/how-elastic-load-balancing-works.html",
)
def balancer_internal(props: Props) -> Iterator[str]:
    """Internal; a Gateway Load Balancer is reached by endpoints only, and has no such setting."""
    if props.get("internal") is not True and props.get("loadBalancerType") != "gateway":
        yield "It can be reached from the internet"
