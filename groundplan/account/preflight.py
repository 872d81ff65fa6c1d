"""``groundplan preflight``: whether an account and this machine have what a stack needs, and what to do where they
don't.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from groundplan.account import cli_state
from groundplan.account.cli_state import Found
from groundplan.account.needs import SPOT, Needs
from groundplan.account.plan import OIDC_HOST, linked_services, names_of

Client = Callable[[str], Any]
# Quotas by AWS's name: service, code, and how to count what is in use (None where it can't be counted).
_QUOTAS: dict[str, tuple[str, str]] = {
    "VPCs per Region": ("vpc", "L-F678F1CE"),
    "EC2-VPC Elastic IPs": ("ec2", "L-0263D0A3"),
    "NAT gateways per Availability Zone": ("vpc", "L-FE5A380F"),
    "Interface VPC endpoints per VPC": ("vpc", "L-29B6F2EB"),
    "All G and VT Spot Instance Requests": ("ec2", "L-3819A6DF"),
    "Running On-Demand G and VT instances": ("ec2", "L-DB2E81BA"),
    "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests": ("ec2", "L-34B43A08"),
    "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances": ("ec2", "L-1216C47A"),
}
_VCPUS_OF_A_GPU = 4  # of the smallest instance of EC2's G families


def preflight(
    root: Path,
    project: str,
    stack: str,
    account: str,
    region: str,
    wanted: Needs,
    client: Client,
    environment: Mapping[str, str] = os.environ,
) -> list[Found]:
    """All checks, in the order in which their results are needed.

    Args:
        client: Creates a boto3 client of a service, with the caller's credentials.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    found: list[Found] = []
    who = identity(account, client)
    known = who.state == "ok"
    found += cli_state.look(root, project, stack, environment, client("s3") if known else None)
    found.append(who)
    if not known:
        return found
    looks: tuple[tuple[str, Callable[[], Iterator[Found]]], ...] = (
        ("created once", lambda: _made_once(project, account, region, client)),
        ("connections", lambda: connected(wanted, client)),
        ("service-linked roles", lambda: _linked(wanted, client)),
        ("zones and instance types", lambda: _offered(wanted, region, client)),
        ("quotas", lambda: quotas(wanted, region, client)),
    )
    for what, look in looks:
        try:
            found += look()
        except (BotoCoreError, ClientError) as error:  # a missing permission, a service that does not respond
            found.append(
                Found(
                    what,
                    "unknown",
                    f"could not be checked: {type(error).__name__}: {str(error)[:200]}",
                    "give the caller read access",
                )
            )
    return found


def identity(account: str, client: Client) -> Found:
    """Whether the caller's credentials belong to the stack's account."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        caller = client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        return Found(
            "credentials",
            "missing",
            f"AWS does not accept the credentials: {type(error).__name__}",
            "log in: aws sso login, or set AWS_PROFILE",
        )
    if caller["Account"] != account:
        return Found(
            "credentials",
            "missing",
            f"they belong to account {caller['Account']}, but the stack is for {account}",
            "use a profile of that account, or correct aws:allowedAccountIds",
        )
    return Found("credentials", "ok", str(caller["Arn"]))


def _made_once(project: str, account: str, region: str, client: Client) -> Iterator[Found]:
    names, fix = names_of(project, account, region), "groundplan bootstrap creates it"
    try:
        versions = client("s3").get_bucket_versioning(Bucket=names.bucket).get("Status")
        ok = versions == "Enabled"
        yield Found(
            "state bucket",
            "ok" if ok else "missing",
            names.bucket if ok else f"{names.bucket} is not versioned",
            "" if ok else fix,
        )
    except client("s3").exceptions.ClientError as error:
        yield Found(
            "state bucket",
            "missing",
            f"{names.bucket} can't be read ({type(error).__name__}); another backend works, too",
            fix,
        )
    aliases = {
        item["AliasName"] for page in client("kms").get_paginator("list_aliases").paginate() for item in page["Aliases"]
    }
    yield Found(
        "key for secrets of the state",
        *(("ok", names.alias) if names.alias in aliases else ("missing", f"{names.alias} does not exist", fix)),
    )
    providers = [item["Arn"] for item in client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]]
    there = any(arn.endswith(f"/{OIDC_HOST}") for arn in providers)
    yield Found(
        "identity of GitHub's workflows",
        *(("ok", OIDC_HOST) if there else ("missing", "the account does not trust GitHub's tokens", fix)),
    )
    roles = {
        item["RoleName"] for page in client("iam").get_paginator("list_roles").paginate() for item in page["Roles"]
    }
    for role in (names.deploy_role, names.read_role):
        yield Found(f"role {role}", *(("ok", "it exists") if role in roles else ("missing", "it does not exist", fix)))


def connected(wanted: Needs, client: Client) -> Iterator[Found]:
    """Whether the connections to the repository's host have been confirmed."""
    for arn in wanted.connections:
        of = client(arn.split(":")[2])
        what, fix = "connection to the repository", "in the console: Developer Tools, Settings, Connections"
        try:
            there = of.get_connection(ConnectionArn=arn)["Connection"]
        except of.exceptions.ResourceNotFoundException:
            yield Found(
                what, "missing", f"{arn} does not exist", f"create one {fix}, and name it in deploys_from.connection"
            )
            continue
        state = there["ConnectionStatus"]
        yield Found(
            what,
            *(
                ("ok", there["ConnectionName"])
                if state == "AVAILABLE"
                else ("missing", f"it is {state.lower()}", f"confirm it {fix}")
            ),
        )


def _linked(wanted: Needs, client: Client) -> Iterator[Found]:
    there = linked_services(client("iam"))
    for service, role in wanted.linked:
        if service in there:
            yield Found(f"role of {service}", "ok", role)
        elif service == SPOT:
            yield Found(
                f"role of {service}",
                "missing",
                f"{role} does not exist, and first use does not create it",
                f"aws iam create-service-linked-role --aws-service-name {service}",
            )
        else:
            yield Found(
                f"role of {service}",
                "ok",
                f"{role} is created on first use, if the caller may call iam:CreateServiceLinkedRole",
            )


def _offered(wanted: Needs, region: str, client: Client) -> Iterator[Found]:
    ec2 = client("ec2")
    zones = {item["ZoneName"] for item in ec2.describe_availability_zones()["AvailabilityZones"]}
    missing = [zone for zone in wanted.zones if zone not in zones]
    says = (
        ", ".join(wanted.zones)
        if not missing
        else f"{region} has no {', '.join(missing)} for this account; it has {', '.join(sorted(zones))}"
    )
    yield Found(
        "availability zones",
        "missing" if missing else "ok",
        says,
        "set the network's zones to these" if missing else "",
    )
    asked = sorted({kind for group in wanted.instance_types for kind in group})
    if not asked:
        return
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": asked}]
    )
    where: dict[str, set[str]] = {}
    for page in pages:
        for item in page["InstanceTypeOfferings"]:
            where.setdefault(item["InstanceType"], set()).add(item["Location"])
    for group in wanted.instance_types:
        usable = [kind for kind in group if where.get(kind, set()) & set(wanted.zones)]
        says = (
            f"{', '.join(usable)} in"
            f" {', '.join(sorted(set.union(*(where[kind] for kind in usable)) & set(wanted.zones)))}"
            if usable
            else f"none of {', '.join(group)}"
        )
        yield Found(
            f"instance types {', '.join(group)}",
            "ok" if usable else "missing",
            says,
            "" if usable else "use another region, or another type",
        )


def quotas(wanted: Needs, region: str, client: Client) -> Iterator[Found]:
    """What the stack needs in addition to what is in use, compared with the account's quotas."""
    ec2 = client("ec2")
    needed = {name: float(count) for name, count in wanted.counts.items() if count}
    if wanted.gpus:
        needed["All G and VT Spot Instance Requests"] = needed["Running On-Demand G and VT instances"] = (
            wanted.gpus * _VCPUS_OF_A_GPU
        )
    if wanted.cpus:
        needed["All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"] = wanted.cpus
    used = {
        "VPCs per Region": lambda: len(ec2.describe_vpcs()["Vpcs"]),
        "EC2-VPC Elastic IPs": lambda: len(ec2.describe_addresses()["Addresses"]),
    }
    listed: dict[str, dict[str, Any]] = {}

    def quota(service: str, name: str) -> dict[str, Any] | None:
        """The account's quota; AWS's default where no other value was ever requested."""
        if service not in listed:
            listed[service] = {}
            for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
                with suppress(client("service-quotas").exceptions.ClientError):
                    pages = client("service-quotas").get_paginator(operation).paginate(ServiceCode=service)
                    listed[service] |= {item["QuotaName"]: item for page in pages for item in page["Quotas"]}
        return listed[service].get(name)

    wishes = [(name, *_QUOTAS[name], count) for name, count in needed.items()]
    wishes += [
        (f"{kind} for endpoint usage", "sagemaker", "", float(count))
        for kind, count in sorted(wanted.endpoints.items())
    ]
    for name, service, code, count in wishes:
        there = quota(service, name)
        if there is None:
            yield Found(
                f"quota {name}",
                "unknown",
                f"{count:g} needed; the account lists no such quota",
                f"check it: aws service-quotas list-service-quotas --service-code {service}",
            )
            continue
        taken = used[name]() if name in used else 0
        enough = taken + count <= there["Value"]
        says = f"{count:g} needed{f', {taken} in use' if taken else ''}, {there['Value']:g} allowed"
        request = (
            f"aws service-quotas request-service-quota-increase --region {region} --service-code {service} --quota-code"
            f" {there.get('QuotaCode', code)} --desired-value {taken + count:g}"
        )
        yield Found(f"quota {name}", "ok" if enough else "missing", says, "" if enough else request)
