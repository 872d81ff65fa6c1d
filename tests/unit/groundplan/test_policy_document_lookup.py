"""The policy documents that ``aws.iam.get_policy_document`` gives, as AWS's provider merges them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundplan.engine.policy_documents import policy_document
from groundplan.engine.unknown import UNKNOWN
from groundplan.review.command import review


def statement(sid: str, *actions: str, effect: str = "Allow") -> dict[str, Any]:
    return {"sid": sid, "effect": effect, "actions": list(actions), "resources": ["*"]}


def text(*statements: dict[str, Any], **more: Any) -> str:
    return policy_document({"statements": list(statements), **more})


def actions(document: str) -> list[tuple[str, str, list[str]]]:
    return [(item.get("Sid", ""), item["Effect"], item["Action"]) for item in json.loads(document)["Statement"]]


FIRST, OTHER = statement("x", "s3:a"), statement("x", "s3:b")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # A statement replaces an earlier one of its Sid, where that one stood; those without a Sid are added.
        (
            text(statement("", "ec2:a"), FIRST, statement("y", "a:c"), overridePolicyDocuments=[text(OTHER)]),
            [("", "Allow", ["ec2:a"]), ("x", "Allow", ["s3:b"]), ("y", "Allow", ["a:c"])],
        ),
        (text(OTHER, sourcePolicyDocuments=[text(FIRST)]), [("x", "Allow", ["s3:b"])]),
        (
            text(
                overridePolicyDocuments=[
                    text(statement("", "a:a"), FIRST),
                    text(statement("y", "a:c", effect="Deny")),
                    text(statement("x", "s3:a", effect="Deny")),
                ]
            ),
            [("", "Allow", ["a:a"]), ("x", "Deny", ["s3:a"]), ("y", "Deny", ["a:c"])],
        ),
        (text(sourceJson=text(FIRST), overrideJson=text(OTHER)), [("x", "Allow", ["s3:b"])]),
        (text(FIRST, sourceJson=""), [("x", "Allow", ["s3:a"])]),
        (text(statement("", "a:a"), sourceJson=text(statement("", "a:a"))), [("", "Allow", ["a:a"])] * 2),
        (
            text(sourcePolicyDocuments=['{"Statement": {"Effect": "Deny", "Action": ["a:a"]}}']),
            [("", "Deny", ["a:a"])],
        ),
    ],
)
def test_documents_are_merged_by_their_statements_ids(
    document: str, expected: list[tuple[str, str, list[str]]]
) -> None:
    assert actions(document) == expected


def test_versions_and_ids_are_merged_and_what_is_unknown_makes_all_unknown() -> None:
    old = '{"Version": "2008-10-17", "Id": "first", "Statement": []}'
    merged = json.loads(text(sourcePolicyDocuments=[old]))
    assert merged == {"Version": "2012-10-17", "Id": "first", "Statement": []}
    assert json.loads(text(version="2008-10-17", policyId="mine", sourcePolicyDocuments=[old]))["Id"] == "mine"
    assert text(statement("", "a:a"), sourcePolicyDocuments=[UNKNOWN]) == UNKNOWN


@pytest.mark.parametrize(
    ("principals", "expected"),
    [
        ([("*", ["*"])], "*"),
        ([("AWS", ["*"])], {"AWS": ["*"]}),
        ([("AWS", ["a"]), ("Service", ["s"]), ("AWS", ["b"])], {"AWS": ["a", "b"], "Service": ["s"]}),
        ([("*", ["*"]), ("AWS", ["a"])], {"*": ["*"], "AWS": ["a"]}),
    ],
)
def test_principals_are_gathered_by_type(principals: list[tuple[str, list[str]]], expected: Any) -> None:
    given = [{"type": kind, "identifiers": names} for kind, names in principals]
    (found,) = json.loads(policy_document({"statements": [{"principals": given}]}))["Statement"]
    assert found == {"Effect": "Allow", "Principal": expected}


def test_values_of_one_key_are_gathered_and_variables_are_iams() -> None:
    conditions = [
        {"test": "StringLike", "variable": "s3:prefix", "values": ["home/"]},
        {"test": "StringLike", "variable": "s3:prefix", "values": ["home/&{aws:username}/"]},
        {"test": "Bool", "variable": "aws:SecureTransport", "values": ["true"]},
    ]
    given = {"resources": ["arn:aws:s3:::b/&{aws:username}/*"], "conditions": conditions}
    (found,) = json.loads(policy_document({"statements": [given]}))["Statement"]
    assert found == {
        "Effect": "Allow",
        "Resource": ["arn:aws:s3:::b/${aws:username}/*"],
        "Condition": {
            "StringLike": {"s3:prefix": ["home/", "home/${aws:username}/"]},
            "Bool": {"aws:SecureTransport": ["true"]},
        },
    }


SPELLINGS = {
    "classes": 'aws.iam.get_policy_document(statements=[aws.iam.GetPolicyDocumentStatementArgs(actions=["s3:*"], '
    'resources=["*"])]).json',
    "dicts": 'aws.iam.get_policy_document(statements=[{"actions": ["s3:*"], "resources": ["*"]}]).json',
    "not_resources": 'aws.iam.get_policy_document(statements=[{"actions": ["s3:*"], "not_resources": ["x"]}]).json',
    "camel case": 'aws.iam.get_policy_document(statements=[{"actions": ["s3:*"], "notResources": ["x"]}]).json',
    "minified": 'aws.iam.get_policy_document(statements=[{"actions": ["s3:*"], "resources": ["*"]}]).minified_json',
    "output": 'aws.iam.get_policy_document_output(statements=[{"actions": ["s3:*"], "resources": ["*"]}]).json',
    "output of classes": "aws.iam.get_policy_document_output(statements=[aws.iam.GetPolicyDocumentStatementArgsDict("
    'actions=["s3:*"], resources=["*"])]).apply(lambda found: found.json)',
    "output with an output": "aws.iam.get_policy_document_output(statements=[aws.iam.GetPolicyDocumentStatementArgs("
    'actions=["s3:*"], resources=["*", key.arn])]).json',
    "merged": 'aws.iam.get_policy_document(source_policy_documents=[aws.iam.get_policy_document(statements=['
    '{"actions": ["s3:*"], "resources": ["*"]}]).json]).json',
    "awaited": "aws.iam.get_policy_document(opts=pulumi.InvokeOptions(parent=key), statements=["
    '{"actions": ["s3:*"], "resources": ["*"]}]).json',
}  # fmt: skip


@pytest.mark.slow
def test_every_spelling_yields_the_document(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: a\nruntime: python\n")
    lines = ["import pulumi", "import pulumi_aws as aws", 'key = aws.kms.Key("k")']
    lines += [f'aws.iam.Policy("{name}", policy={spelled})' for name, spelled in SPELLINGS.items()]
    (tmp_path / "__main__.py").write_text("\n".join(lines))
    found = review(tmp_path, "dev").findings
    assert {item.resource for item in found if item.policy == "iam-no-wildcards"} == set(SPELLINGS)
