"""Programs as others write them: what they rely on of Pulumi is applied, and what they get wrong is one clear sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from groundplan.review.command import review
from groundplan.review.errors import ReviewError
from groundplan.review.model import Finding, Review

START = "import json, os\nimport pulumi\nimport pulumi_aws as aws\nimport pulumi_kubernetes as k8s\n"
Reviewing = Callable[..., Review]


@pytest.fixture
def reviewing(tmp_path: Path) -> Reviewing:
    def run(code: str, *config: str, limit_s: float = 120) -> Review:
        (tmp_path / "Pulumi.yaml").write_text("name: theirs\nruntime: python\n")
        (tmp_path / "__main__.py").write_text(START + code)
        return review(tmp_path, "dev", config=config, limit_s=limit_s)

    return run


def of(found: Review, policy: str) -> dict[str, Finding]:
    return {finding.resource: finding for finding in found.findings if finding.policy == policy}


TAGS = '{"Project": "p", "Environment": "dev", "Owner": "o"}'


@pytest.mark.parametrize(
    ("code", "config", "untagged"),
    [
        ('aws.kms.Key("k")', (), {"k"}),
        ('aws.kms.Key("k")', (f'aws:defaultTags={{"tags": {TAGS}}}',), set()),
        ('aws.kms.Key("k", tags={"Owner": ""})', (f'aws:defaultTags={{"tags": {TAGS}}}',), {"k"}),  # its own is nearer
        (
            f"""
tagged = aws.Provider("tagged", region="eu-west-1", default_tags={{"tags": {TAGS}}})
bare = aws.Provider("bare", region="eu-west-1")
aws.kms.Key("a", opts=pulumi.ResourceOptions(provider=tagged))
aws.kms.Key("b", opts=pulumi.ResourceOptions(provider=bare))
""",
            (),
            {"b"},
        ),
        (
            f"""
class Group(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("our:index:Group", name, {{}}, opts)
        aws.kms.Key(f"{{name}}-key", opts=pulumi.ResourceOptions(parent=self))

def add(args):
    if args.type_ == "aws:kms/key:Key":
        return pulumi.ResourceTransformResult({{**args.props, "tags": {TAGS}}}, args.opts)

Group("with", opts=pulumi.ResourceOptions(transforms=[add]))
Group("without")
""",
            (),
            {"without-key"},
        ),
        (
            f"""
async def add(args):
    return pulumi.ResourceTransformResult({{**args.props, "tags": {TAGS}}}, args.opts)

aws.kms.Key("before")
pulumi.runtime.register_resource_transform(add)
aws.kms.Key("after")
""",
            (),
            {"before"},
        ),
    ],
)
def test_tags_come_from_where_pulumi_takes_them(
    reviewing: Reviewing, code: str, config: tuple[str, ...], untagged: set[str]
) -> None:
    assert set(of(reviewing(code, *config), "tagged")) == untagged


@pytest.mark.parametrize(
    "document",
    [
        'bucket.arn.apply(lambda arn: json.dumps({"Version": "2012-10-17", "Statement": [{**OPEN, "Resource": arn}]}))',
        'pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": [{**OPEN, "Resource": bucket.arn}]})',
        'pulumi.Output.all(bucket.arn, bucket.id).apply(lambda of: json.dumps({"Version": "2012-10-17", "Statement": [{**OPEN, "Resource": [of[0], f"arn:aws:s3:::{of[1]}/*"]}]}))',
        'aws.iam.get_policy_document_output(statements=[{"principals": [{"type": "*", "identifiers": ["*"]}], "actions": ["s3:GetObject"], "resources": [bucket.arn]}]).json',
    ],
)  # fmt: skip
def test_what_apply_builds_is_decided_with_stand_ins(reviewing: Reviewing, document: str) -> None:
    found = reviewing(f"""
OPEN = {{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}}
bucket = aws.s3.Bucket("b")
aws.s3.BucketPolicy("p", bucket=bucket.id, policy={document})
""")
    finding = of(found, "policy-not-public")["p"]
    assert finding.blocks and finding.message.endswith("(decided with stand-ins for values known after deployment)")
    assert not found.undecided


def test_the_form_of_an_arn_that_is_made_up_is_no_fault(reviewing: Reviewing) -> None:
    found = reviewing("""
parameter = aws.ssm.Parameter("p", type="SecureString", value="x")
trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
role = aws.iam.Role("r", assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
aws.iam.RolePolicy("rp", role=role.id, policy=parameter.arn.apply(lambda arn: json.dumps({"Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["ssm:GetParameters", "ssm:GetNothing"], "Resource": arn}]})))
""")
    assert not of(found, "iam-resource-mismatch") and "rp" in of(found, "iam-unknown-action")


def test_unknown_values_inside_a_look_up_are_the_documents(reviewing: Reviewing) -> None:
    found = reviewing("""
role = aws.iam.Role("r", assume_role_policy="{}")
document = aws.iam.get_policy_document(statements=[aws.iam.GetPolicyDocumentStatementArgs(
    actions=["*"], resources=[role.arn, "*"])])
aws.iam.RolePolicy("p", role=role.id, policy=document.json)
aws.iam.RolePolicyAttachment("a", role=role.name, policy_arn=aws.iam.get_policy(name="PowerUserAccess").arn)
""")
    assert "p" in of(found, "iam-no-star-action") and "a" in of(found, "iam-no-administrator")


def test_custom_resources_are_the_clusters_to_judge_and_pods_kubernetes(reviewing: Reviewing) -> None:
    found = reviewing("""
def custom(name, api_version, kind, **spec):
    k8s.apiextensions.CustomResource(name, api_version=api_version, kind=kind, metadata={"name": name}, spec=spec)

custom("class", "karpenter.k8s.aws/v1", "EC2NodeClass", role="nodes", amiSelectorTerms=[{"alias": "al2023@latest"}])
custom("rule", "monitoring.coreos.com/v1", "PrometheusRule", groups=[{"name": "g", "rules": [{"record": "a", "expr": "b"}]}])
custom("ours", "acme.example/v1", "Anything", at=["all"])
k8s.core.v1.ConfigMap("wrong", metadata={"name": "wrong"}, data={"a": 1})
""")
    assert set(of(found, "k8s-valid")) == {"wrong"}
    assert any("EC2NodeClass, PrometheusRule, Anything" in note for note in found.notes)


def test_the_same_of_one_resource_is_said_once(reviewing: Reviewing) -> None:
    rule = '{"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["0.0.0.0/0"]}'
    found = reviewing(f'aws.ec2.SecurityGroup("g", ingress=[{rule}, {rule}])')
    assert of(found, "no-open-ingress")["g"].message == "Traffic from 0.0.0.0/0 to TCP port 22 is allowed in (2 times)"
    assert sum(finding.policy == "no-open-ingress" for finding in found.findings) == 1


@pytest.fixture
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A server outside of the review, and what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                heard.append(connection.recv(100))

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], heard


def test_a_program_reaches_no_network_and_finds_no_credentials(
    reviewing: Reviewing, listening: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, heard = listening
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")
    monkeypatch.setenv("TEAM", "data")
    found = reviewing(f"""
import socket
assert "AWS_SECRET_ACCESS_KEY" not in os.environ and os.environ["TEAM"] == "data"
for address in (("127.0.0.1", {port}), ("192.0.2.1", 443), ("api.example.com", 443)):
    try:
        socket.create_connection(address, timeout=5).sendall(b"secret")
    except OSError as error:
        print(error)
aws.sqs.Queue("q")
""")
    if not any("can't take the network" in note for note in found.notes):
        assert heard == [], "a network of its own has a loopback of its own"
    refused = next(note for note in found.notes if note.startswith("requested from the network"))
    assert refused.endswith("192.0.2.1:443, api.example.com:443")


def test_a_call_that_needs_the_network_is_named(reviewing: Reviewing) -> None:
    with pytest.raises(ReviewError) as raised:
        reviewing('import urllib.request\nurllib.request.urlopen("https://checkip.example.com")\n')
    assert "has no network, and the program requested checkip.example.com:443" in str(raised.value)
    assert "__main__.py:6" in str(raised.value)


def test_a_program_that_does_not_end_is_ended_and_shows_where_it_is(reviewing: Reviewing) -> None:
    with pytest.raises(ReviewError, match=r"__main__\.py:7: the program has not ended after 3 s\n.*--time-limit"):
        reviewing("import time\nwhile True:\n    time.sleep(1)\n", limit_s=3)


# A public policy that only shows once `apply` has run; beside it, what programs do with values of a deployment.
PUBLIC = """
bucket = aws.s3.Bucket("data")
everyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
aws.s3.BucketPolicy("open", bucket=bucket.id, policy=bucket.arn.apply(
    lambda arn: json.dumps({"Version": "2012-10-17", "Statement": [{**everyone, "Resource": f"{arn}/*"}]})))
"""
TAKEN_APART = """
import base64, ipaddress
vpc = aws.ec2.Vpc("v", cidr_block="10.0.0.0/16", assign_generated_ipv6_cidr_block=True)
network = vpc.ipv6_cidr_block.apply(lambda block: str(next(ipaddress.ip_network(block).subnets(8))))
address = aws.ec2.Eip("e", domain="vpc").public_ip.apply(lambda ip: str(ipaddress.ip_address(ip)))
cluster = aws.eks.Cluster("c", role_arn="arn:aws:iam::123456789012:role/c", vpc_config={"subnet_ids": ["subnet-1", "subnet-2"]})
issuer = cluster.identities[0].oidcs[0].issuer.apply(lambda url: url.split("//")[1])
issuer_too = cluster.identities.apply(lambda found: found[0]["oidcs"][0]["issuer"])
ca = cluster.certificate_authority.apply(lambda found: base64.b64decode(found.data))
kubeconfig = pulumi.Output.all(cluster.endpoint, cluster.certificate_authority["data"]).apply(lambda both: both[0] + both[1])
certificate = aws.acm.Certificate("cert", domain_name="example.com", validation_method="DNS")
record = certificate.domain_validation_options.apply(lambda options: options[0]["resource_record_name"].rstrip("."))
zone = aws.route53.Zone("z", name="example.com")
fourth = zone.name_servers[3]
database = aws.rds.Instance("d", instance_class="db.t3.micro", manage_master_user_password=True, username="u")
port = database.endpoint.apply(lambda endpoint: int(endpoint.split(":")[1]))
balancer = aws.lb.LoadBalancer("lb", subnets=["subnet-1", "subnet-2"])
dimension = balancer.arn.apply(lambda arn: arn.split(":loadbalancer/")[1])
function = aws.lambda_.FunctionUrl("f", function_name="f", authorization_type="AWS_IAM")
host = function.function_url.apply(lambda url: url.split("/")[2])
api = aws.apigatewayv2.Api("api", protocol_type="HTTP").api_endpoint.apply(lambda url: url.split("//")[1])
brokers = aws.msk.Cluster("m", kafka_version="3.9.x", number_of_broker_nodes=3, broker_node_group_info={
    "instance_type": "kafka.m5.large", "client_subnets": ["subnet-1", "subnet-2", "subnet-3"], "security_groups": ["sg-1"]})
third = brokers.bootstrap_brokers_tls.apply(lambda text: text.split(",")[2])
endpoint = aws.ec2.VpcEndpoint("vpce", vpc_id=vpc.id, service_name="com.amazonaws.us-east-1.sqs", vpc_endpoint_type="Interface")
dns = endpoint.dns_entries.apply(lambda entries: entries[0]["dns_name"])
for name in ("network", "address", "issuer", "issuer_too", "record", "fourth", "port", "dimension", "host", "api", "third", "dns"):
    aws.ssm.Parameter(name.replace("_", "-"), type="String", value=globals()[name].apply(str))
"""


def test_values_of_a_deployment_have_the_form_that_programs_take_apart(reviewing: Reviewing) -> None:
    found = reviewing(PUBLIC + TAKEN_APART)
    assert "open" in of(found, "policy-not-public")
    assert not [note for note in found.notes if "stand-ins raise" in note], found.notes


@pytest.mark.parametrize(
    "line",
    [
        'wrong = aws.kms.Key("k").key_id.apply(lambda it: it["no"]["such"])',
        'wrong = bucket.arn.apply(lambda it: aws.s3.Bucket("inner", bucket=it["x"]))',
        "wrong = bucket.hosted_zone_id.apply(lambda it: int(it) / 0)",
        """
async def later(it):
    raise ValueError(it)
wrong = bucket.arn.apply(later)
""",
        'aws.ssm.Parameter("p", type="String", value=pulumi.StackReference("org/net/dev").require_output("vpcId"))',
        'aws.ssm.Parameter("p", type="String", value=pulumi.StackReference("org/net/dev").get_output("a")["b"])',
        'aws.ssm.Parameter("p", type="String", value=pulumi.StackReference("n").outputs.apply(lambda it: it["a"]["b"]))',
    ],
)
def test_what_apply_can_not_compute_leaves_everything_else_decided(reviewing: Reviewing, line: str) -> None:
    found = reviewing(f"{PUBLIC}\n{line}\n")
    assert "open" in of(found, "policy-not-public") and not found.passed
    assert ("StackReference" in line) != any("stand-ins raise" in note for note in found.notes), found.notes


@pytest.mark.parametrize(
    "line",
    [
        'password = json.loads(aws.secretsmanager.get_secret_version(secret_id="s").secret_string)["password"]',
        'password = aws.secretsmanager.get_secret_version_output(secret_id="s").secret_string.apply(lambda it: json.loads(it)["a"])',
        'size = int(aws.ssm.get_parameter(name="n").value)',
        'settings = json.loads(aws.ssm.get_parameter(name="n").value)["vpc"]["id"]',
        'second = aws.ssm.get_parameter(name="n").value.split(",")[1]',
        'import base64\nuser = base64.b64decode(aws.ecr.get_authorization_token().authorization_token).decode().split(":")[1]',
        'wrong = aws.ec2.get_vpc_output(default=True).id.apply(lambda it: it["no"])',
    ],
)
def test_what_a_program_reads_from_a_look_up_need_not_end_it(reviewing: Reviewing, line: str) -> None:
    assert "open" in of(reviewing(f"{PUBLIC}\n{line}\n"), "policy-not-public")


def test_what_fails_without_any_made_up_value_is_the_programs_own_fault(reviewing: Reviewing) -> None:
    with pytest.raises(ReviewError, match="KeyError"):
        reviewing('pulumi.Output.from_input({"a": 1}).apply(lambda it: it["b"])\n')
    with pytest.raises(ReviewError, match="ZeroDivisionError"):
        reviewing("aws.ec2.get_vpc(default=True)\n1 / 0\n")


ELSEWHERE = """
elsewhere = aws.Provider("elsewhere", region="eu-west-1")
there, here = pulumi.ResourceOptions(provider=elsewhere), pulumi.ResourceOptions()
def volume(name, opts, **more):
    aws.ebs.Volume(name, availability_zone="x", size=1, opts=opts, **more)
volume("here", here)
volume("there", there)
volume("by-property", here, region="ap-south-1")
volume("same", pulumi.ResourceOptions(provider=aws.Provider("same", region="us-east-1")))
"""


@pytest.mark.parametrize(
    ("where", "opts", "accused"),
    [
        ("", "here", {"there", "by-property"}),
        ("", "there", {"here", "by-property", "same"}),
        (', region="ap-south-1"', "here", {"here", "there", "same"}),
    ],
)
def test_a_setting_of_the_account_is_of_one_region(
    reviewing: Reviewing, where: str, opts: str, accused: set[str]
) -> None:
    code = f'{ELSEWHERE}\naws.ebs.EncryptionByDefault("d", enabled=True{where}, opts={opts})\n'
    assert set(of(reviewing(code), "ebs-volume-encrypted")) == accused


def test_what_a_review_does_not_run_is_named(reviewing: Reviewing) -> None:
    found = reviewing(
        """
def say(args):
    raise ValueError("nothing is created")

hook = pulumi.ResourceHook("say", say)
pulumi.runtime.register_invoke_transform(lambda args: None)
aws.kms.Key("k", opts=pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_create=[hook])))
"""
    )
    (note,) = [note for note in found.notes if "not run" in note]
    assert "the hook say" in note and "transforms of look-ups" in note
