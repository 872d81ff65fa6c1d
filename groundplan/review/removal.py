"""What ``pulumi destroy`` of a stack deletes, what stays, for how long, what that costs, and how to release it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundplan.engine.preview import Previewed, preview
from groundplan.review.cost import monthly_usd
from infra.design.price_book import PriceBook

_OF_ACCOUNT = ("pulumi:", "pulumi-python:")
Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Staying:
    """A resource that survives a destroy.

    Attributes:
        why: What keeps it.
        until: For how long.
        release: How to release it earlier; empty where nothing does.
        monthly_usd: What it costs meanwhile, at list prices; None where that depends on its content.
    """

    name: str
    type: str
    why: str
    until: str
    release: str
    monthly_usd: float | None


@dataclass(frozen=True)
class Removal:
    """The plan of a destroy.

    Attributes:
        goes: Number of resources that are deleted, by type.
        protected: Resources that the engine refuses to delete; while there is one, a destroy ends with an error after
            everything else is deleted.
        stays: What is left when a resource is deleted; for a protected one, after it was released.
    """

    stack: str
    goes: dict[str, int]
    protected: tuple[Staying, ...]
    stays: tuple[Staying, ...]
    prices_as_of: str

    def document(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def removal(root: Path, stack: str, prices: PriceBook) -> Removal:
    """What would happen, derived from the program and its objectives; no account is queried.

    Raises:
        UsageError: The objectives are invalid.
    """
    found = [item for item in preview(root, stack) if item.custom and not item.type.startswith(_OF_ACCOUNT)]
    locks = {
        item.inputs.get("bucket"): item.inputs
        for item in found
        if item.type == "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
    }
    protected = tuple(_protected(item, stack, prices) for item in found if item.protect)
    stays = tuple(staying for item in found for staying in _left(item, locks, prices))
    goes = Counter(item.type for item in found if not item.protect and not item.retain_on_delete)
    return Removal(stack, dict(sorted(goes.items())), protected, stays, prices.as_of)


def _protected(item: Previewed, stack: str, prices: PriceBook) -> Staying:
    usd = monthly_usd(item.type, item.inputs, prices)
    until = "it is released" + (
        "; then it leaves the state, and stays in the account until it is deleted there"
        if item.retain_on_delete
        else ""
    )
    return Staying(
        item.name,
        item.type,
        "it holds data, which the stack protects",
        until,
        f"pulumi state unprotect -s {stack} '{item.urn}'",
        usd,
    )


def _left(item: Previewed, locks: Mapping[Any, Inputs], prices: PriceBook) -> Iterable[Staying]:
    inputs = item.inputs

    def staying(why: str, until: str, release: str, usd: float | None = None) -> Staying:
        return Staying(item.name, item.type, why, until, release, usd)

    if item.retain_on_delete and not item.protect:
        yield staying(
            "it belongs to another resource", "that resource is deleted", "", monthly_usd(item.type, inputs, prices)
        )
    if item.type in ("aws:kms/key:Key", "aws:kms/replicaKey:ReplicaKey"):
        days = inputs.get("deletionWindowInDays") or 30
        yield staying(
            "a key is disabled immediately, and deleted after its window",
            f"{days} days",
            "none; `aws kms cancel-key-deletion` cancels the deletion",
            0.0,
        )
    elif item.type == "aws:secretsmanager/secret:Secret" and inputs.get("recoveryWindowInDays") != 0:
        days = inputs.get("recoveryWindowInDays") or 30
        release = (
            f"aws secretsmanager delete-secret --secret-id {inputs.get('name', item.name)}"
            " --force-delete-without-recovery"
        )
        yield staying(
            "a secret is deleted after its window; until then its name is taken", f"{days} days", release, 0.0
        )
    elif item.type == "aws:s3/bucket:Bucket":
        yield from _bucket(item, locks.get(inputs.get("bucket")), staying)
    elif item.type == "aws:rds/instance:Instance" and not inputs.get("skipFinalSnapshot"):
        snapshot = inputs.get("finalSnapshotIdentifier", "its final snapshot")
        yield staying(
            "a final snapshot is created",
            "it is deleted",
            f"aws rds delete-db-snapshot --db-snapshot-identifier {snapshot}",
        )
    elif item.type == "aws:ecr/repository:Repository" and not inputs.get("forceDelete"):
        yield staying(
            "AWS does not delete a repository that contains images",
            "its images are deleted",
            f"aws ecr delete-repository --force --repository-name {inputs.get('name', item.name)}",
        )
    elif item.type == "aws:cloudwatch/logGroup:LogGroup" and inputs.get("skipDestroy"):
        yield staying(
            "its logs are kept",
            f"{inputs.get('retentionInDays') or 'no'} days after each was written",
            f"aws logs delete-log-group --log-group-name {inputs.get('name')}",
        )
    elif item.type == "aws:backup/vault:Vault" and not inputs.get("forceDestroy"):
        yield staying(
            "AWS does not delete a vault that contains recovery points",
            "they expire, or are deleted",
            "aws backup delete-recovery-point, for each",
        )


def _bucket(item: Previewed, lock: Inputs | None, staying: Any) -> Iterable[Staying]:
    name = item.inputs.get("bucket", item.name)
    if lock is not None:
        rule = lock["rule"]["defaultRetention"]
        release = (
            "none, not even for the account's root user"
            if rule["mode"] == "COMPLIANCE"
            else "s3:BypassGovernanceRetention, which `force_destroy` uses"
        )
        yield staying(
            f"its objects are under Object Lock ({rule['mode'].lower()})",
            f"{rule['days']:g} days after each was written",
            release,
        )
    elif not item.inputs.get("forceDestroy"):
        yield staying(
            "AWS does not delete a bucket that contains objects",
            "it is emptied",
            f"aws s3 rb --force s3://{name} (and its old versions)",
        )


def leftovers(project: str, region: str, stack: str) -> list[str]:
    """ARNs that still have the stack's tags, found with the account's own credentials.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: The account can't be queried.
    """
    import boto3

    pages = boto3.client("resourcegroupstaggingapi", region_name=region).get_paginator("get_resources")
    filters = [{"Key": "Project", "Values": [project]}, {"Key": "Environment", "Values": [stack]}]
    return sorted(
        item["ResourceARN"] for page in pages.paginate(TagFilters=filters) for item in page["ResourceTagMappingList"]
    )


def print_removal(plan: Removal) -> None:
    """As tables."""
    from groundplan import terminal

    console = terminal.console()
    console.print(
        f"A destroy of stack {plan.stack}, derived from its program; no account was queried. List prices as of"
        f" {plan.prices_as_of}.\n"
    )
    total = sum(plan.goes.values())
    console.print(
        f"[bold]{total} resources are deleted[/bold]: "
        + ", ".join(
            f"{count} {kind.rpartition(':')[2]}"
            for kind, count in sorted(plan.goes.items(), key=lambda item: -item[1])[:8]
        )
        + ", ..."
    )
    for title, items in (
        ("protected: the destroy ends with an error, and these stay", plan.protected),
        ("that leave something when they are deleted", plan.stays),
    ):
        if items:
            console.print(f"\n[bold]{len(items)} {title}[/bold]")
            console.print(_table(items))
    if plan.protected:
        console.print(
            "\nTo release protected resources one by one, once their data is safe (--json has the command for each):"
        )
        console.print(f"  {plan.protected[0].release}", soft_wrap=True)
    releases = list(
        dict.fromkeys(
            item.release for item in plan.stays if item.monthly_usd is None and not item.release.startswith("none")
        )
    )
    if releases:
        console.print("\nTo release the rest:")
        for release in releases[:12]:
            console.print(f"  {release}", soft_wrap=True)
    console.print(
        f"\nThen: pulumi destroy -s {plan.stack}; to list what is left by its tags: groundplan destroy"
        f" --stack {plan.stack} --leftovers",
        soft_wrap=True,
    )


def _table(items: Iterable[Staying]) -> Any:
    from rich.table import Table

    grouped: dict[tuple[str, str, str], list[Staying]] = {}
    for item in items:
        grouped.setdefault((item.type, item.why, item.until), []).append(item)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("type", "resources", "why", "until", "USD a month"):
        table.add_column(column, overflow="fold", justify="right" if column.startswith("USD") else "left")
    last = ("", "")
    for (type_, why, until), group in grouped.items():
        known = [item.monthly_usd for item in group if item.monthly_usd is not None]
        usd = "by usage" if not known else f"{sum(known):,.2f}" + (" and by usage" if len(known) < len(group) else "")
        shown = ("", "") if (why, until) == last else (why, until)
        table.add_row(type_.rpartition(":")[2], ", ".join(item.name for item in group), *shown, usd)
        last = (why, until)
    return table
