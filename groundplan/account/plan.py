"""``groundplan bootstrap``: what an account needs once, before any stack: where the state is kept, and who may deploy.

Created with boto3 and not by a stack, since the state of that stack would need it first. Each item is looked up, and
created only if it does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from groundplan.account.needs import SPOT
from spec.errors import GroundplanError, UsageError

Client = Callable[[str], Any]
OIDC_HOST = "token.actions.githubusercontent.com"
_AUDIENCE = "sts.amazonaws.com"
_POLICY_LIMIT = 6144  # characters of a managed policy, white space not counted


@dataclass(frozen=True)
class Names:
    """Names of what is created."""

    bucket: str
    alias: str
    deploy_role: str
    read_role: str


def names_of(project: str, account: str, region: str) -> Names:
    """Of one account and region."""
    return Names(
        f"{project}-pulumi-{account}-{region}", f"alias/{project}-pulumi", f"{project}-deploy", f"{project}-drift"
    )


@dataclass(frozen=True)
class Step:
    """One thing that must exist: ``there`` checks whether it does, ``make`` creates it."""

    what: str
    why: str
    there: Callable[[], bool]
    make: Callable[[], object]


def steps(
    project: str,
    account: str,
    region: str,
    repository: str,
    stacks: Iterable[str],
    services: Iterable[str],
    client: Client,
) -> list[Step]:
    """What is created, in order.

    Args:
        repository: ``owner/name`` on GitHub, whose workflows may deploy.
        stacks: Environments of the repository that may deploy.
        services: AWS services that the program uses, as IAM names them.

    Raises:
        UsageError: The repository is not ``owner/name``.
    """
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name or "*" in repository:
        raise UsageError(
            f"expected OWNER/NAME, got {repository!r}",
            where="--repository",
            fix="for example --repository example/groundplan",
        )
    names, iam, s3, kms = names_of(project, account, region), client("iam"), client("s3"), client("kms")
    subjects = [f"repo:{repository}:environment:{stack}" for stack in stacks]
    trust = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{OIDC_HOST}"},
            "Condition": {"StringEquals": {f"{OIDC_HOST}:aud": _AUDIENCE, f"{OIDC_HOST}:sub": subjects}},
        }],
    }  # fmt: skip
    tags = [{"Key": "Project", "Value": project}, {"Key": "ManagedBy", "Value": "groundplan bootstrap"}]

    def key_id() -> str:
        pages = kms.get_paginator("list_aliases").paginate()
        return next(
            (
                str(item["TargetKeyId"])
                for page in pages
                for item in page["Aliases"]
                if item["AliasName"] == names.alias
            ),
            "",
        )

    def make_key() -> None:
        made = kms.create_key(
            Description="Secrets in the state of Pulumi",
            Tags=[{"TagKey": item["Key"], "TagValue": item["Value"]} for item in tags],
        )
        identifier = made["KeyMetadata"]["KeyId"]
        kms.enable_key_rotation(KeyId=identifier)
        kms.create_alias(AliasName=names.alias, TargetKeyId=identifier)

    def bucket_there() -> bool:
        try:
            return bool(s3.get_bucket_versioning(Bucket=names.bucket).get("Status") == "Enabled")
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchBucket", "404"):
                return False
            raise

    def make_bucket() -> None:
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # an earlier call was interrupted
            s3.create_bucket(Bucket=names.bucket, **place)
        closed = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        s3.put_public_access_block(Bucket=names.bucket, PublicAccessBlockConfiguration=closed)
        rule = {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_id()},
            "BucketKeyEnabled": True,
        }
        s3.put_bucket_encryption(Bucket=names.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
        tls = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{names.bucket}", f"arn:aws:s3:::{names.bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        s3.put_bucket_policy(Bucket=names.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [tls]}))
        s3.put_bucket_tagging(Bucket=names.bucket, Tagging={"TagSet": tags})
        s3.put_bucket_versioning(Bucket=names.bucket, VersioningConfiguration={"Status": "Enabled"})

    def provider_there() -> bool:
        return any(
            item["Arn"].endswith(f"/{OIDC_HOST}")
            for item in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        )

    def make_provider() -> None:
        # AWS checks GitHub's certificate itself and ignores the thumbprint, which its API used to require.
        iam.create_open_id_connect_provider(
            Url=f"https://{OIDC_HOST}", ClientIDList=[_AUDIENCE], ThumbprintList=["0" * 40], Tags=tags
        )

    def role_there(role: str) -> Callable[[], bool]:
        return lambda: any(
            item["RoleName"] == role for page in iam.get_paginator("list_roles").paginate() for item in page["Roles"]
        )

    def make_role(role: str, policy: dict[str, Any], managed: str = "") -> Callable[[], None]:
        def make() -> None:
            iam.create_role(
                RoleName=role, AssumeRolePolicyDocument=json.dumps(trust), MaxSessionDuration=7200, Tags=tags
            )
            made = iam.create_policy(PolicyName=role, PolicyDocument=json.dumps(policy), Tags=tags)
            iam.attach_role_policy(RoleName=role, PolicyArn=made["Policy"]["Arn"])
            if managed:
                iam.attach_role_policy(RoleName=role, PolicyArn=managed)

        return make

    return [
        Step(f"key {names.alias}", "encrypts the state and the secrets in it", lambda: bool(key_id()), make_key),
        Step(
            f"bucket {names.bucket}",
            "stores the state: versioned, TLS only, not public",
            bucket_there,
            make_bucket,
        ),
        Step(
            f"identity provider {OIDC_HOST}",
            "GitHub's workflows use short-lived tokens instead of keys",
            provider_there,
            make_provider,
        ),
        Step(
            f"role {names.deploy_role}",
            f"deploys from {', '.join(subjects)}",
            role_there(names.deploy_role),
            make_role(names.deploy_role, deploy_policy(project, account, region, services)),
        ),
        Step(
            f"role {names.read_role}",
            "detects drift each night and changes nothing",
            role_there(names.read_role),
            make_role(
                names.read_role, state_policy(project, account, region), "arn:aws:iam::aws:policy/ReadOnlyAccess"
            ),
        ),
        Step(
            "EC2's own role for spot",
            "without it, Karpenter gets no spot nodes",
            lambda: SPOT in linked_services(iam),
            lambda: iam.create_service_linked_role(AWSServiceName=SPOT),
        ),
    ]


def linked_services(iam: Any) -> set[str]:
    """Services that have their own role in the account."""
    pages = iam.get_paginator("list_roles").paginate(PathPrefix="/aws-service-role/")
    return {item["Path"].strip("/").rpartition("/")[2] for page in pages for item in page["Roles"]}


def state_policy(project: str, account: str, region: str) -> dict[str, Any]:
    """Reading and locking the state, and opening its secrets."""
    bucket = f"arn:aws:s3:::{names_of(project, account, region).bucket}"
    statements = [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": [bucket]},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "Resource": [f"{bucket}/*"]},
        {
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"],
            "Resource": [f"arn:aws:kms:{region}:{account}:key/*"],
            "Condition": {
                "ForAnyValue:StringEquals": {"kms:ResourceAliases": names_of(project, account, region).alias}
            },
        },
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def deploy_policy(project: str, account: str, region: str, services: Iterable[str]) -> dict[str, Any]:
    """What a deployment may do: everything in the services that the program uses, in IAM only with what has the
    project's name.

    Raises:
        GroundplanError: It is longer than AWS allows.
    """
    own = [f"arn:aws:iam::{account}:{kind}/{project}-*" for kind in ("role", "policy", "instance-profile")]
    wide = sorted(f"{service}:*" for service in services if service != "iam")
    statements = [
        {"Effect": "Allow", "Action": wide, "Resource": "*"},
        {"Effect": "Allow", "Action": ["iam:Get*", "iam:List*", "iam:CreateServiceLinkedRole"], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["iam:*"],
            "Resource": [*own, f"arn:aws:iam::{account}:oidc-provider/oidc.eks.{region}.amazonaws.com/*"],
        },
        # The deploying role may not change its own permissions.
        {
            "Effect": "Deny",
            "Action": [
                "iam:Attach*",
                "iam:Create*",
                "iam:Delete*",
                "iam:Detach*",
                "iam:Put*",
                "iam:Set*",
                "iam:Update*",
            ],
            "Resource": [
                f"arn:aws:iam::{account}:{kind}/{project}-{name}"
                for kind in ("role", "policy")
                for name in ("deploy", "drift")
            ],
        },
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    if len(json.dumps(document, separators=(",", ":"))) > _POLICY_LIMIT:
        raise GroundplanError(
            f"the policy of the deploying role is longer than {_POLICY_LIMIT} characters",
            fix="grant the role AWS's PowerUserAccess and IAM permissions manually",
        )
    return document
