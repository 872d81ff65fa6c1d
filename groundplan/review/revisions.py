"""What differs from another revision of the project."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from groundplan.engine.unknown import UNKNOWN
from groundplan.review.model import Change, Comparison, Resource, Review

# Types that hold data, or that data can't be read without: what is lost with them is not made again by a deployment.
_DATA = frozenset(
    (
        "aws:backup/vault:Vault",
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:cognito/userPool:UserPool",
        "aws:docdb/cluster:Cluster",
        "aws:dynamodb/table:Table",
        "aws:ebs/volume:Volume",
        "aws:ecr/repository:Repository",
        "aws:efs/fileSystem:FileSystem",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:elasticsearch/domain:Domain",
        "aws:fsx/lustreFileSystem:LustreFileSystem",
        "aws:fsx/ontapFileSystem:OntapFileSystem",
        "aws:fsx/openZfsFileSystem:OpenZfsFileSystem",
        "aws:fsx/windowsFileSystem:WindowsFileSystem",
        "aws:kinesis/stream:Stream",
        "aws:kms/key:Key",
        "aws:memorydb/cluster:Cluster",
        "aws:msk/cluster:Cluster",
        "aws:msk/serverlessCluster:ServerlessCluster",
        "aws:msk/topic:Topic",
        "aws:mq/broker:Broker",
        "aws:neptune/cluster:Cluster",
        "aws:opensearch/domain:Domain",
        "aws:rds/cluster:Cluster",
        "aws:rds/globalCluster:GlobalCluster",
        "aws:rds/instance:Instance",
        "aws:redshift/cluster:Cluster",
        "aws:redshiftserverless/namespace:Namespace",
        "aws:s3/bucket:Bucket",
        "aws:s3/bucketV2:BucketV2",
        "aws:s3tables/table:Table",
        "aws:sagemaker/featureGroup:FeatureGroup",
        "aws:sagemaker/notebookInstance:NotebookInstance",
        "aws:secretsmanager/secret:Secret",
        "aws:sqs/queue:Queue",
        "aws:timestreamwrite/table:Table",
        "kubernetes:core/v1:PersistentVolumeClaim",
    )
)


def below_repository(root: Path) -> str:
    """The folder below the root of its git repository; empty where it is the root, or there is no repository."""
    place = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    found = root.relative_to(place).as_posix()
    return "" if found == "." else found


def compare(revision: str, before: Review, now: Review) -> Comparison:
    """What differs between two reviews of a stack.

    Args:
        revision: Name of the earlier one.
    """
    renamed = _renamed(before, now)
    old, new = ({renamed.get(r.urn, r.urn): r for r in item.resources if r.custom} for item in (before, now))
    changes = [Change("added", r.type, r.name) for urn, r in new.items() if urn not in old]
    changes += [Change("gone", r.type, r.name, holds_data=_holds_data(r)) for urn, r in old.items() if urn not in new]
    changes += [_change(old[urn], resource) for urn, resource in new.items() if urn in old]
    changes = [change for change in changes if change.what != "changed" or change.inputs]

    names = {
        r.name: _name(renamed[r.urn]) for r in before.resources if r.urn in renamed and r.type.startswith("aws:iam/")
    }

    def holder(who: str) -> str:
        kind, _, name = who.partition(" ")
        return f"{kind} {names.get(name, name)}"

    def grants(item: Review) -> dict[Any, Any]:
        return {(holder(g.who), g.service, g.access, g.actions, g.resources, g.conditions): g for g in item.grants}

    old_grants, new_grants = grants(before), grants(now)
    old_findings, new_findings = (
        {dataclasses.replace(found, urn=renamed.get(found.urn, found.urn)).key: found for found in item.findings}
        for item in (before, now)
    )
    return Comparison(
        revision,
        tuple(sorted(changes, key=lambda change: (change.what, change.type, change.name))),
        tuple(grant for key, grant in new_grants.items() if key not in old_grants),
        tuple(grant for key, grant in old_grants.items() if key not in new_grants),
        tuple(finding for key, finding in new_findings.items() if key not in old_findings),
        tuple(finding for key, finding in old_findings.items() if key not in new_findings),
        round(before.cost.monthly_usd, 2),
        tuple(sorted(set(now.may) - set(before.may))) if before.may else (),
        tuple(sorted(set(before.may) - set(now.may))) if now.may else (),
    )


def _renamed(before: Review, now: Review) -> dict[str, str]:
    """Today's URN of the resources that had another one, by their aliases."""
    old, new = ({resource.urn for resource in item.resources} for item in (before, now))
    found = {}
    for resource in now.resources:
        former = next((urn for urn in resource.aliases if urn in old), None)
        if former is not None and resource.urn not in old and former not in new:
            found[former] = resource.urn
    return found


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _change(before: Resource, now: Resource) -> Change:
    """The inputs that differ, without those whose changes the program has the engine ignore."""
    paths = [
        path
        for path in _differing("", before.inputs, now.inputs)
        if not path.startswith("__") and not _covered(path, now.ignore_changes)
    ]
    keys = dict.fromkeys(map(_key, paths))
    replacing = dict.fromkeys(_key(path) for path in paths if _replaces(before, now, path))
    return Change("changed", now.type, now.name, tuple(keys), tuple(replacing), _holds_data(now))


def _holds_data(resource: Resource) -> bool:
    return resource.type in _DATA and not resource.retain_on_delete


def _replaces(before: Resource, now: Resource, path: str) -> bool:
    """Whether the change of an input has the resource made anew; a value that is unknown before and after may stay."""
    from groundplan.local.provider.replacing import replaces

    old = before.inputs.get(_key(path))
    return (
        old is not None
        and old != UNKNOWN
        and (replaces(now.type, re.sub(r"\[\d+\]", "", path)) or _covered(path, now.replace_on_changes))
    )


def _covered(path: str, by: Iterable[str]) -> bool:
    """Whether a path is one of some property paths, or below one; their parts may be stars.

    https://www.pulumi.com/docs/iac/concepts/miscellaneous/property-paths/
    """
    parts = _parts(path)
    return any(
        len(wanted) <= len(parts) and all(one in ("*", part) for one, part in zip(wanted, parts, strict=False))
        for wanted in map(_parts, by)
    )


def _key(path: str) -> str:
    """The input that a path begins with."""
    return re.split(r"[.\[]", path)[0]


def _parts(path: str) -> list[str]:
    return [quoted or plain for quoted, plain in re.findall(r"\[\"((?:[^\"\\]|\\.)*)\"\]|([^.\[\]]+)", path)]


def _differing(path: str, old: Any, new: Any) -> Iterator[str]:
    """The paths below an input that differ."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            part = key if re.fullmatch(r"[\w-]+", key) else f'["{key}"]'
            dot = "." if path and not part.startswith("[") else ""
            yield from _differing(f"{path}{dot}{part}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differing(f"{path}[{index}]", one, other)
    else:
        yield path
