"""Deliberately bad programs, and the findings each must yield: no more, no fewer.

Each is complete except for its mistake. ``GOOD`` precedes every one: a bucket and others as they should be, so that a
program shows only its own mistake. Every program has a budget, since otherwise each would have a finding about it.
"""

from __future__ import annotations

from dataclasses import dataclass

GOOD = """
import json
import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

TAGS = {"Project": "p", "Environment": "test", "Owner": "o@example.com"}
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1"
told = [{"notification_type": "ACTUAL", "comparison_operator": "GREATER_THAN", "threshold": 80, "threshold_type": "PERCENTAGE",
         "subscriber_email_addresses": ["f@example.com"]}]
aws.budgets.Budget("budget", budget_type="COST", limit_amount="10", limit_unit="USD", time_unit="MONTHLY", notifications=told)


def bucket(name, *, block=True, tls=True, versions=True, lifecycle=True, algorithm="aws:kms", acl=None, tags=TAGS):
    made = aws.s3.Bucket(name, bucket=name, acl=acl, tags=tags)
    default = {"sse_algorithm": algorithm, **({"kms_master_key_id": KEY} if algorithm == "aws:kms" else {})}
    aws.s3.BucketServerSideEncryptionConfiguration(name, bucket=name, rules=[{"apply_server_side_encryption_by_default": default}])
    if block:
        aws.s3.BucketPublicAccessBlock(name, bucket=name, block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True)
    if tls:
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"], "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        aws.s3.BucketPolicy(name, bucket=name, policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    if versions:
        aws.s3.BucketVersioning(name, bucket=name, versioning_configuration={"status": "Enabled"})
    if lifecycle:
        rule = {"id": "all", "status": "Enabled", "abort_incomplete_multipart_upload": {"days_after_initiation": 7}}
        aws.s3.BucketLifecycleConfiguration(name, bucket=name, rules=[rule])
    return made


def role(name, *statements, trust=None):
    trust = trust or {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
    made = aws.iam.Role(name, name=name, assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [trust]}), tags=TAGS)
    if statements:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        aws.iam.RolePolicy(name, role=made.name, policy=json.dumps(document))
    return made


def allow(action, resource, **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def database(name, **changes):
    good = dict(
        engine="postgres", instance_class="db.t4g.small", allocated_storage=20, storage_type="gp3", storage_encrypted=True, kms_key_id=KEY,
        manage_master_user_password=True, username="u", enabled_cloudwatch_logs_exports=["postgresql"], publicly_accessible=False, tags=TAGS,
    )
    return aws.rds.Instance(name, **{key: value for key, value in {**good, **changes}.items() if value is not None})


def deployment(name, image="registry.k8s.io/pause:3.10", pod=None, **container):
    secure = {
        "allow_privilege_escalation": False, "run_as_non_root": True, "read_only_root_filesystem": True, "capabilities": {"drop": ["ALL"]},
        "seccomp_profile": {"type": "RuntimeDefault"},
    }
    one = {"name": "c", "image": image, "security_context": {**secure, **container.pop("context", {})},
           "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, **container}
    spec = {"automount_service_account_token": False, "containers": [one], **(pod or {})}
    return k8s.apps.v1.Deployment(
        name, metadata={"name": name}, spec={"selector": {"match_labels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}
    )
"""


@dataclass(frozen=True)
class Program:
    """One program.

    Args:
        expected: ``policy resource`` of each finding; with an exclamation mark where it is mandatory.
    """

    code: str
    expected: set[str]


PROGRAMS: dict[str, Program] = {
    "nothing wrong": Program(
        'bucket("b"); database("d"); deployment("x"); role("r", allow("s3:GetObject", "arn:aws:s3:::b/*"))', set()
    ),
    "open bucket": Program('bucket("b", block=False)', {"s3-public-access-block b"}),
    "public list": Program('bucket("b", acl="public-read")', {"!s3-no-public-acl b"}),
    "plain http to a bucket": Program('bucket("b", tls=False)', {"s3-tls-only b"}),
    "everybody may read": Program(
        'bucket("b")\naws.s3.BucketPolicy("open", bucket="b", policy=json.dumps({"Version": "2012-10-17", "Statement":'
        ' [allow("s3:GetObject", "arn:aws:s3:::b/*", Principal="*")]}))',
        {"!policy-not-public open"},
    ),
    "no versions, no end": Program(
        'bucket("b", versions=False, lifecycle=False)', {"s3-versioned b", "s3-lifecycle b"}
    ),
    "no key at all": Program(
        'aws.s3.Bucket("b", bucket="b", tags=TAGS)',
        {
            "s3-key-named b",
            "s3-lifecycle b",
            "s3-public-access-block b",
            "s3-tls-only b",
            "s3-versioned b",
        },
    ),
    "typing errors in statements": Program(
        'role("r", {"Effect": "Alow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}, {"Effect": "Allow",'
        ' "Acton": "s3:GetObject"})',
        {"!iam-malformed r"},
    ),
    "in a role's own policies": Program(
        """
role_ = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRoll", "Principal": {"Service": "ec2.amazonaws.com"}}]})
inline = json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:GetObjct", "arn:aws:s3:::b/*")]})
aws.iam.Role("r", assume_role_policy=role_, inline_policies=[{"name": "x", "policy": inline}], tags=TAGS)
""",
        {"!iam-unknown-action r"},
    ),
    "AWS's key": Program('bucket("b", algorithm="AES256")', {"s3-encrypted-with-own-key b"}),
    "nobody's bucket": Program('bucket("b", tags={"Project": "p"})', {"tagged b"}),
    "unencrypted database": Program('database("d", storage_encrypted=False, kms_key_id=None)', {"!rds-encrypted d"}),
    "public database": Program('database("d", publicly_accessible=True)', {"!rds-private d"}),
    "password in the program": Program(
        'database("d", manage_master_user_password=None, password="hunter2")', {"rds-password-managed d"}
    ),
    "old, large, gp2": Program(
        'database("d", instance_class="db.m4.16xlarge", storage_type="gp2")',
        {"instance-size-allowed d", "instance-not-outdated d", "volume-gp3 d"},
    ),
    "administrator": Program('role("r", allow("*", "*"))', {"!iam-no-wildcards r", "!iam-no-star-action r"}),
    "a service's every action": Program(
        'role("r", allow("dynamodb:*", "*"))',
        {"!iam-no-wildcards r", "iam-resource-named r"},
    ),
    "a typing error in an action": Program(
        'role("r", allow("s3:GetObjekt", "arn:aws:s3:::b/*"))', {"!iam-unknown-action r"}
    ),
    "a resource of another kind": Program(
        'role("r", allow("s3:GetObject", "arn:aws:s3:::b"))', {"!iam-resource-mismatch r"}
    ),
    "an action that knows no resources": Program(
        'role("r", allow("ecr:GetAuthorizationToken", "arn:aws:ecr:eu-west-1:123456789012:repository/x"))',
        {"!iam-resource-ignored r"},
    ),
    "a condition nobody knows": Program(
        'role("r", allow("s3:GetObject", "arn:aws:s3:::b/*", Condition={"StringEquals": {"s3:colour": "red"}}))',
        {"!iam-unknown-condition r"},
    ),
    "the way to every right": Program(
        'role("r", allow(["iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"], "*"))',
        {"!iam-passrole-limited r", "!iam-escalation r", "iam-resource-named r"},
    ),
    "anybody may take it": Program(
        'role("r", trust={"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"})', {"!iam-trust-named r"}
    ),
    "no second factor": Program(
        'role("r", trust={"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS":'
        ' "arn:aws:iam::123456789012:root"}})',
        {"iam-people-use-mfa r"},
    ),
    "any repository": Program(
        'role("r", trust={"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated":'
        ' "arn:aws:iam::1:oidc-provider/token.actions.githubusercontent.com"}})',
        {"!iam-federation-narrow r"},
    ),
    "a key for ever": Program('aws.iam.AccessKey("k", user="u")', {"!iam-no-access-keys k"}),
    "ssh from everywhere": Program(
        'aws.ec2.SecurityGroup("g", ingress=[{"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks":'
        ' ["0.0.0.0/0"]}])',
        {"!no-open-ingress g"},
    ),
    "an instance as it comes": Program(
        'aws.ec2.Instance("i", ami="ami-1", instance_type="m7i.large", associate_public_ip_address=True, tags=TAGS)',
        {"!instance-volumes-encrypted i", "instance-metadata-v2 i", "instance-no-public-ip i"},
    ),
    "a secret in the environment": Program(
        'r = role("r")\naws.lambda_.Function("f", role=r.arn, environment={"variables": {"DB_PASSWORD": "hunter2"}},'
        " tags=TAGS)",
        {"!no-secret-in-environment f"},
    ),
    "a secret in the program": Program(
        's = aws.secretsmanager.Secret("s", kms_key_id=KEY)\naws.secretsmanager.SecretVersion("s", secret_id=s.id,'
        ' secret_string="hunter2")',
        {"secret-not-in-program s", "secret-rotates s"},
    ),
    "logs for ever": Program('aws.cloudwatch.LogGroup("l", name="/x")', {"logs-kept l", "logs-own-key l"}),
    "an endpoint nobody watches": Program(
        'aws.sagemaker.EndpointConfiguration("e", name="c", production_variants=[{"variant_name": "a", "model_name":'
        ' "m", "instance_type": "ml.m5.large", "initial_instance_count": 1}])\naws.sagemaker.Endpoint("e", name="e",'
        ' endpoint_config_name="c", tags=TAGS)',
        {"endpoint-own-key e", "endpoint-captures e", "endpoint-alarmed e", "endpoint-scales e"},
    ),
    "an accelerator for nobody": Program(
        'aws.eks.NodeGroup("n", cluster_name="c", node_role_arn=KEY, subnet_ids=["a", "b"],'
        ' instance_types=["g5.xlarge"], scaling_config={"min_size": 1, "max_size": 2, "desired_size": 1}, tags=TAGS)',
        {"no-idle-accelerator n"},
    ),
    "a topic without a contract": Program(
        'aws.msk.Topic("t", name="events", cluster_arn=KEY, partition_count=1, replication_factor=1)',
        {"topic-has-contract t", "topic-has-dead-letters t"},
    ),
    "a privileged pod": Program('deployment("x", context={"privileged": True})', {"!k8s-no-privileged x"}),
    "a pod on its node": Program('deployment("x", pod={"host_network": True})', {"!k8s-no-host x"}),
    "an image that moves": Program('deployment("x", image="registry.k8s.io/pause:latest")', {"k8s-image-fixed x"}),
    "an image from elsewhere": Program(
        'deployment("x", image="docker.io/library/nginx:1.27")', {"k8s-image-from-our-registry x"}
    ),
    "an image that nobody signed": Program(
        'deployment("x", image="123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:1.2.3")',
        {"k8s-image-signed x"},
    ),
    "an object Kubernetes refuses": Program(
        'k8s.core.v1.ConfigMap("m", metadata={"name": "m"}, data={"a": 5})',
        {"!k8s-valid m"},
    ),
    "an open namespace": Program(
        'k8s.core.v1.Namespace("n", metadata={"name": "n"})',
        {"k8s-pod-security n", "k8s-namespace-closed n", "k8s-namespace-quota n"},
    ),
    "administrator of the cluster": Program(
        'k8s.rbac.v1.ClusterRoleBinding("b", metadata={"name": "b"}, role_ref={"api_group":'
        ' "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"})',
        {"!k8s-no-cluster-admin b"},
    ),
}
