"""Policies and ranges are judged by what they mean: pairs that differ in meaning and not in spelling, or the other way
round.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from policies.controls import CONTROLS
from policies.networks import internet_among
from policies.stack import Item, Stack, UndecidedError
from policies.type_names import canonical

U = UNKNOWN_STRING_VALUE
ACCOUNT = "123456789012"
ROLE, GITHUB = (
    f"arn:aws:iam::{ACCOUNT}:role/app",
    f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com",
)
SUB = "token.actions.githubusercontent.com:sub"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def found(control_id: str, props: dict[str, Any]) -> list[str]:
    control, given = CONTROLS[control_id], unknown_checking_proxy(props)
    if control.check is not None:
        return list(control.check(given))
    assert control.stack_check is not None
    kind = "aws:iam/role:Role" if "assumeRolePolicy" in props else "aws:iam/policy:Policy"
    return [fault for _, fault in control.stack_check(Stack([Item(kind, "x", "x", given)]))]


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("control", "statement", "bad"),
    [
        ("iam-no-wildcards", allow("S3:*"), True),
        ("iam-no-wildcards", allow("dynamodb:**"), True),
        ("iam-no-wildcards", allow("dynamodb:*", "arn:aws:dynamodb:*:*:table/*"), True),
        ("iam-no-wildcards", allow("dynamodb:*", f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:*"), True),
        ("iam-no-wildcards", allow("dynamodb:*", f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/*"), False),
        ("iam-no-wildcards", allow("sqs:*", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:app-*"), False),
        ("iam-no-wildcards", allow("s3:*", "arn:aws:s3:::app-*"), False),
        ("iam-no-wildcards", allow("s3:*", "arn:aws-us-gov:s3:::*"), True),
        ("iam-no-wildcards", allow(["logs:*", "s3:*"], "arn:aws:logs:*:*:*"), True),
        ("iam-no-wildcards", allow("s3:*", "arn:aws:logs:*:*:*"), False),  # about nothing of S3
        ("iam-no-wildcards", allow("ec2:*", "*", Condition={"StringEquals": {"ec2:ResourceTag/team": "a"}}), False),
        (
            "iam-no-wildcards",
            allow("ec2:*", "*", Condition={"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}),
            True,
        ),
        ("iam-no-wildcards", {**allow("s3:*"), "Effect": "Deny"}, False),
        ("iam-no-wildcards", {"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::audit/*"}, True),
        ("iam-no-wildcards", allow("s3:Get*"), False),
        ("iam-no-star-action", allow("*", "arn:aws:s3:::app"), True),
        ("iam-no-star-action", allow("*:*", "arn:aws:s3:::app"), True),
        ("iam-no-star-action", allow(["s3:*"], "arn:aws:s3:::app"), False),
        ("iam-no-star-action", {"Effect": "Allow", "NotAction": ["s3:*"], "Resource": "*"}, True),
        ("iam-no-star-action", {"Effect": "Deny", "NotAction": ["s3:*"], "Resource": "*"}, False),
        ("iam-passrole-limited", allow("IAM:PASSROLE"), True),
        ("iam-passrole-limited", allow("iam:P*", f"arn:aws:iam::{ACCOUNT}:role/*"), True),
        ("iam-passrole-limited", allow("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/app-*"), False),
        ("iam-passrole-limited", allow("iam:PassRole", U), False),
        ("iam-passrole-limited", allow("iam:GetRole"), False),
        ("iam-passrole-limited", {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, False),
        ("iam-passrole-limited", {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, False),
        ("iam-cant-widen-itself", allow("iam:Attach*"), True),
        ("iam-cant-widen-itself", allow("iam:attachrolepolicy", "arn:aws:iam::*:role/*"), True),
        ("iam-cant-widen-itself", allow("iam:AttachRolePolicy", ROLE), False),
        ("iam-cant-widen-itself", allow("iam:List*"), False),
        ("kms-use-is-separate", allow("kms:*", "arn:aws:kms:eu-west-1:1:key/2"), True),
        (
            "kms-use-is-separate",
            allow(["kms:Describe*", "kms:Schedule*", "kms:Disable*"], U),
            False,
        ),  # an administrator
        ("kms-use-is-separate", allow(["kms:decrypt", "kms:schedulekeydeletion"], U), True),
    ],
)
def test_an_identity_policy_means_what_iam_takes_it_for(control: str, statement: dict[str, Any], bad: bool) -> None:
    assert bool(found(control, {"policy": document(statement)})) == bad
    inside = {"assumeRolePolicy": U, "inlinePolicies": [{"name": "x", "policy": document(statement)}]}
    assert bool(found(control, inside)) == bad


def trust(principal: Any, condition: Any = None, action: str = "sts:AssumeRole") -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": principal, "Action": action}
    return {"assumeRolePolicy": document(statement | ({"Condition": condition} if condition else {}))}


EKS, COGNITO = "oidc.eks.eu-west-1.amazonaws.com/id/ABC", "cognito-identity.amazonaws.com"


def web(condition: Any, provider: str = GITHUB) -> dict[str, Any]:
    return trust({"Federated": provider}, condition, "sts:AssumeRoleWithWebIdentity")


@pytest.mark.parametrize(
    ("control", "props", "bad"),
    [
        ("iam-trust-named", trust({"AWS": "*"}), True),
        ("iam-trust-named", trust({"AWS": "*"}, {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-ours"}}), True),
        ("iam-trust-named", trust({"AWS": "*"}, {"StringEquals": {"aws:PrincipalOrgID": "o-ours"}}), False),
        ("iam-trust-named", trust({"AWS": "*"}, {"StringEquals": {"sts:RoleSessionName": "deploy"}}), True),
        ("iam-trust-named", trust({"AWS": "*"}, {"StringEquals": {"sts:ExternalId": "no secret"}}), True),
        ("iam-trust-named", trust({"AWS": "*"}, {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/deploy"}}), True),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:*/infra:*"}}), True),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:acme*/infra:*"}}), True),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:acm?/infra:*"}}), True),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:acme*:environment:prod"}}), True),
        ("iam-federation-narrow", web({"StringLike": {SUB: "*:environment:prod"}}), True),
        ("iam-federation-narrow", web({"StringEquals": {SUB: "repo:*/infra:*"}}), False),  # no pattern: nobody's
        ("iam-federation-narrow", web({"StringLike": {SUB: "repository_owner:acme:*"}}), False),
        ("iam-federation-narrow", web({"StringEquals": {SUB.replace(":sub", ":ref"): "refs/heads/main"}}), True),
        ("iam-federation-narrow", web({"StringEquals": {SUB.replace(":sub", ":environment"): "prod"}}), True),
        ("iam-federation-narrow", web({"StringEquals": {SUB.replace(":sub", ":repository"): "acme/infra"}}), False),
        ("iam-federation-narrow", web({"StringLike": {"gitlab.com:sub": "project_path:*/infra:ref:*"}}, "gitlab.com"), True),
        ("iam-federation-narrow", web({"StringLike": {"gitlab.com:sub": "project_path:acme/*:ref:*"}}, "gitlab.com"), False),
        (
            "iam-federation-narrow",
            web({"StringLike": {"app.terraform.io:sub": "organization:*:project:prod:*"}}, "app.terraform.io"),
            True,
        ),
        (
            "iam-federation-narrow",
            web({"StringLike": {"app.terraform.io:sub": "organization:acme:project:*"}}, "app.terraform.io"),
            False,
        ),
        (
            "iam-federation-narrow",
            web({"StringLike": {"api.pulumi.com/oidc:sub": "pulumi:environments:org:acme:env:*"}}, "api.pulumi.com/oidc"),
            False,
        ),
        ("iam-federation-narrow", web({"StringLike": {f"{EKS}:sub": "system:serviceaccount:team-a:*"}}, EKS), False),
        ("iam-federation-narrow", web({"StringLike": {f"{EKS}:sub": "system:serviceaccount:*"}}, EKS), True),
        ("iam-federation-narrow", web({"StringEquals": {f"{EKS}:aud": "sts.amazonaws.com"}}, EKS), True),
        (
            "iam-federation-narrow",
            web({"ForAnyValue:StringLike": {f"{COGNITO}:amr": "authenticated"}}, COGNITO),
            True,
        ),
        (
            "iam-federation-narrow",
            web(
                {
                    "StringEquals": {f"{COGNITO}:aud": "eu-west-1:1"},
                    "ForAnyValue:StringLike": {f"{COGNITO}:amr": "authenticated"},
                },
                COGNITO,
            ),
            False,
        ),
        ("iam-trust-named", trust("*", {"StringNotEquals": {"aws:PrincipalOrgID": "o-ours"}}), True),
        ("iam-trust-named", trust("*", {"StringEqualsIfExists": {"aws:SourceAccount": ACCOUNT}}), True),
        ("iam-trust-named", trust("*", {"StringLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/*"}}), False),
        ("iam-trust-named", trust("*", {"StringLike": {"aws:PrincipalArn": "*"}}), True),
        ("iam-trust-named", trust("*", {"StringEquals": {"AWS:principalorgid": "o-ours"}}), False),
        ("iam-trust-named", trust("*", {"StringEquals": {"aws:PrincipalTag/team": "a"}}), True),  # a stranger's own
        ("iam-trust-named", trust("*", {"IpAddress": {"aws:SourceIp": ["0.0.0.0/1", "128.0.0.0/1"]}}), True),
        ("iam-trust-named", trust("*", {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}), False),
        ("iam-trust-named", trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), False),
        ("iam-people-use-mfa", trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), True),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}), True),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}, {"Bool": {"aws:multifactorauthpresent": True}}), False),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}, {"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}), True),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}, {"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}}), False),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}, {"StringEquals": {"sts:ExternalId": "x"}}), False),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}, {"ArnEquals": {"aws:PrincipalArn": ROLE}}), False),
        ("iam-people-use-mfa", trust({"AWS": ACCOUNT}, {"StringEquals": {"aws:PrincipalOrgID": "o-ours"}}), True),
        ("iam-people-use-mfa", trust({"AWS": ROLE}), False),
        ("iam-no-confused-deputy", trust({"Service": "events.amazonaws.com"}), True),
        (
            "iam-no-confused-deputy",
            trust({"Service": "events.amazonaws.com"}, {"StringEquals": {"AWS:SourceAccount": ACCOUNT}}),
            False,
        ),
        (
            "iam-no-confused-deputy",
            trust({"Service": "events.amazonaws.com"}, {"ArnLike": {"aws:SourceArn": f"arn:aws:events:*:{ACCOUNT}:*"}}),
            False,
        ),
        (
            "iam-no-confused-deputy",
            trust({"Service": "events.amazonaws.com"}, {"StringNotEquals": {"aws:SourceAccount": ACCOUNT}}),
            True,
        ),
        (
            "iam-no-confused-deputy",
            trust({"Service": "events.amazonaws.com"}, {"ArnLike": {"aws:SourceArn": "arn:aws:events:*:*:rule/*"}}),
            True,
        ),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:acme/app:*"}}), False),
        ("iam-federation-narrow", web({"StringEquals": {SUB: "repo:acme/app:environment:prod"}}), False),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:acme*"}}), True),
        ("iam-federation-narrow", web({"StringLike": {SUB: "repo:acme/*"}}), False),
        ("iam-federation-narrow", web({"StringLike": {SUB: ["repo:acme/app:*", "*"]}}), True),
        ("iam-federation-narrow", web({"StringEquals": {SUB.replace(":sub", ":aud"): "sts.amazonaws.com"}}), True),
        ("iam-federation-narrow", web({"ForAllValues:StringLike": {SUB: "repo:acme/app:*"}}), False),
        ("iam-federation-narrow", web({"StringNotLike": {SUB: "repo:acme/app:pull_request"}}), True),
        ("iam-federation-narrow", web({"StringLikeIfExists": {SUB: "repo:acme/app:*"}}), False),
        (
            "iam-federation-narrow",
            web({"StringEquals": {"cognito-identity.amazonaws.com:aud": "eu:1"}}, "cognito-identity.amazonaws.com"),
            False,
        ),
        ("iam-federation-narrow", trust({"Federated": f"arn:aws:iam::{ACCOUNT}:saml-provider/x"}, None, "sts:AssumeRoleWithSAML"), False),
    ],
)  # fmt: skip
def test_a_trust_policy_lets_in_whom_iam_lets_in(control: str, props: dict[str, Any], bad: bool) -> None:
    assert bool(found(control, props)) == bad


ORGANIZATION = {"StringNotEquals": {"aws:PrincipalOrgID": "o-ours"}}


@pytest.mark.parametrize(
    ("statements", "bad"),
    [
        ([allow("s3:GetObject", Principal="*")], True),
        ([allow("s3:GetObject", Principal={"AWS": [ROLE, "*"]})], True),
        ([allow("s3:GetObject", NotPrincipal={"AWS": ROLE})], True),
        ([allow("s3:GetObject", Principal={"CanonicalUser": "*"})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"StringEquals": {"aws:PrincipalOrgID": U}})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"StringEquals": {"aws:SourceVpce": U}})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"StringLike": {"aws:Referer": "https://acme.example/*"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"Null": {"aws:SourceVpc": "true"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"Null": {"aws:SourceVpc": "false"}})], True),  # of anybody
        ([allow("s3:GetObject", Principal="*", Condition={"StringLike": {"aws:SourceVpce": "vpce-*"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"StringEquals": {"aws:SourceVpce": "vpce-1a2b"}})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"StringEquals": {"aws:ResourceAccount": ACCOUNT}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-a"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"ForAllValues:StringLike": {"aws:PrincipalOrgPaths": "o-a/*"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"StringEquals": {"aws:PrincipalOrgID": "o-a"}})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/deploy"}})], True),
        ([allow("sqs:SendMessage", Principal="*", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}})], True),
        ([allow("sqs:SendMessage", Principal="*", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:*"}})], True),
        ([allow("sqs:SendMessage", Principal="*", Condition={"ArnLike": {"aws:SourceArn": f"arn:aws:sns:*:{ACCOUNT}:*"}})], False),
        ([allow("sqs:SendMessage", Principal="*", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:*:*:our-bucket"}})], False),
        ([allow("sqs:SendMessage", Principal="*", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}})], True),
        (
            [allow("sqs:SendMessage", Principal="*", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}, "StringEquals": {"aws:SourceAccount": ACCOUNT}})],
            False,
        ),
        ([allow("s3:GetObject", Principal="*", Condition={"ForAllValues:StringEquals": {"aws:SourceVpce": "v"}})], True),
        ([allow("s3:GetObject", Principal="*", Condition={"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-a/*"}})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:*"}})], False),
        ([allow("s3:GetObject", Principal="*", Condition={"IpAddress": {"aws:SourceIp": "::/0"}})], True),
        ([allow("kms:*", Principal="*", Condition={"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}})], True),
        ([allow("kms:*", Principal="*", Condition={"StringEquals": {"kms:CallerAccount": ACCOUNT}})], False),
        ([allow("s3:*", Principal="*"), {**allow("s3:*", Principal="*", Condition=ORGANIZATION), "Effect": "Deny"}], False),
        ([allow("s3:*", Principal="*"), {**allow("s3:*Object", Principal="*", Condition=ORGANIZATION), "Effect": "Deny"}], True),
        ([allow("s3:Get*", Principal="*"), {**allow("s3:Put*", Principal="*", Condition=ORGANIZATION), "Effect": "Deny"}], True),
        ([allow("s3:*", Principal="*"), {**allow("s3:*", Principal={"AWS": ROLE}), "Effect": "Deny"}], True),
        (
            [
                allow("s3:*", U, Principal="*"),
                {**allow("*", "*", Principal="*", Condition={"StringNotEquals": {"aws:SourceVpce": U}}), "Effect": "Deny"},
            ],
            False,
        ),
    ],
)  # fmt: skip
def test_a_resources_policy_is_public_if_a_stranger_gets_in(statements: list[dict[str, Any]], bad: bool) -> None:
    policy = {"Version": "2012-10-17", "Statement": statements}
    assert bool(found("policy-not-public", {"policy": policy})) == bad


def test_a_document_that_only_a_deployment_can_tell_is_undecided() -> None:
    for control in ("iam-no-wildcards", "iam-document-valid", "policy-not-public"):
        with pytest.raises(UnknownValueError):
            found(control, {"policy": U})


@pytest.mark.parametrize(
    ("ranges", "internet"),
    [
        (["0.0.0.0/0"], ["0.0.0.0/0"]),
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/1", "128.0.0.0/1"]),
        (["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"], 4),
        (["::0/0"], ["::0/0"]),
        (["0000:0000::/0"], ["0000:0000::/0"]),
        (["2000::/3"], ["2000::/3"]),
        (["1.2.3.4/0"], ["1.2.3.4/0"]),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"], []),
        (["203.0.113.0/24", "2001:db8::/32"], []),
        (["10.0.0.0/8", "0.0.0.0/0"], ["0.0.0.0/0"]),
        (["pl-12345678", "not a range", ""], []),
    ],
)
def test_the_internet_is_known_in_any_spelling(ranges: list[str], internet: list[str] | int) -> None:
    seen = internet_among(ranges)
    assert len(seen) == internet if isinstance(internet, int) else seen == internet


def test_a_rule_beside_an_unknown_one_is_judged() -> None:
    check = CONTROLS["no-open-ingress"].check
    assert check is not None
    rule = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": [U, "0.0.0.0/0"]}
    faults = iter(check(unknown_checking_proxy({"ingress": [rule], "tags": {"a": U}})))
    assert next(faults) == "Traffic from 0.0.0.0/0 to TCP port 22 is allowed in"
    with pytest.raises(UnknownValueError):
        list(faults)


BUCKET, BLOCK = "aws:s3/bucket:Bucket", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"


def item(kind: str, name: str, references: dict[str, str] | None = None, **props: Any) -> Item:
    of = {key: (f"urn::{source}",) for key, source in (references or {}).items()}
    return Item(canonical(kind), name, f"urn::{name}", unknown_checking_proxy(props), references=of)


@pytest.mark.parametrize(
    ("more", "bare"),
    [
        ([item(BLOCK, "x", {"bucket": "a"}, bucket=U)], ["b"]),
        ([item(BLOCK, "a", {"bucket": "b"}, bucket=U)], ["a"]),  # its own name says nothing
        ([item(BLOCK, "x", bucket="name-of-b")], ["a"]),
        ([item(BLOCK, "x", {"bucket": "a"}, bucket="name-of-b")], ["a"]),  # the name that it holds is nearer
        ([item(BLOCK, "x", {"bucket": "y"}, bucket=U), item("aws:s3/bucketAcl:BucketAcl", "y", {"bucket": "a"})], ["b"]),
        ([item(BLOCK, "x", bucket=U)], ["a", "b"]),  # of a bucket elsewhere
        ([item("aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock", "x")], []),
        ([item(BLOCK, "x", {"bucket": "a"}, bucket=U), item(BLOCK, "y", {"bucket": "b"}, bucket=U)], []),
    ],
)  # fmt: skip
def test_what_a_companion_is_about_is_told_by_where_its_input_comes_from(more: list[Item], bare: list[str]) -> None:
    buckets = [item("aws:s3/bucketV2:BucketV2", "a"), item(BUCKET, "b", bucket="name-of-b")]
    check = CONTROLS["s3-public-access-block"].stack_check
    assert check is not None
    assert [urn for urn, _ in check(Stack([*buckets, *more]))] == [f"urn::{name}" for name in bare]


def test_one_bucket_that_cant_be_decided_leaves_the_others_decided() -> None:
    policy = "aws:s3/bucketPolicy:BucketPolicy"
    stack = Stack(
        [
            item(BUCKET, "bare", bucket="bare"),
            item(BUCKET, "later", bucket="later"),
            item(policy, "p", bucket="later", policy=U),
        ]
    )
    check = CONTROLS["s3-tls-only"].stack_check
    assert check is not None
    faults = iter(check(stack))
    assert next(faults) == ("urn::bare", "Nothing refuses requests without TLS")
    with pytest.raises(UndecidedError, match="") as raised:
        next(faults)
    assert raised.value.found == [("urn::later", "policy")] and "policy of urn::later" in raised.value.message


@pytest.mark.parametrize(
    ("beside", "found_there"),
    [
        ([], True),
        ([Item("aws:iam/role:Role", "r", "r", {}, references={"permissionsBoundary": ("p",)})], False),
        ([Item("aws:iam/user:User", "u", "u", {"permissionsBoundary": "arn:aws:iam::1:policy/p"})], False),
        (
            [
                Item("aws:iam/role:Role", "r", "r", {}, references={"permissionsBoundary": ("p",)}),
                Item(
                    "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "a", "a", {}, references={"policyArn": ("p",)}
                ),
            ],
            True,
        ),
    ],
)
def test_what_only_limits_grants_nothing(beside: list[Item], found_there: bool) -> None:
    props = {"policy": document(allow("*")), "arn": "arn:aws:iam::1:policy/p"}
    policy = Item("aws:iam/policy:Policy", "p", "p", unknown_checking_proxy(props))
    for control in ("iam-no-star-action", "iam-no-wildcards"):
        check = CONTROLS[control].stack_check
        assert check is not None and bool(list(check(Stack([policy, *beside])))) == found_there
