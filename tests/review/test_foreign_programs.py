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
