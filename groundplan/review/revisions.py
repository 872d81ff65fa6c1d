"""What differs from another revision of the project."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from groundplan.engine.unknown import UNKNOWN
from groundplan.review.model import Change, Comparison, Resource, Review
from spec.errors import UsageError

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


@contextmanager
def checked_out(root: Path, revision: str) -> Iterator[Path]:
    """A folder with the project as it was; removed afterwards.

    Raises:
        UsageError: This is not a git checkout, or there is no such revision.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["failed"])[-1]
            raise UsageError(
                f"unknown revision {revision!r}"
                if said.endswith("Needed a single revision")
                else f"git {arguments[0]}: {said}",
                where=f"--against {revision}",
            )
        return done.stdout.strip()

    top = Path(git("rev-parse", "--show-toplevel"))
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    with TemporaryDirectory(prefix="groundplan-review-") as folder:
        archive = subprocess.run(
            ["git", "archive", "--format=tar", commit], cwd=top, capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            # Python before 3.11.4 has no filter; git writes no path that leads outside.
            files.extraction_filter = getattr(tarfile, "data_filter", None)
            files.extractall(folder)  # noqa: S202
        yield Path(folder).resolve() / root.relative_to(top)


def compare(revision: str, before: Review, now: Review) -> Comparison:
    """What differs between two reviews of a stack.

    Args:
        revision: Name of the earlier one.
    """
    old, new = ({r.urn: r for r in item.resources if r.custom} for item in (before, now))
    changes = [Change("added", r.type, r.name) for urn, r in new.items() if urn not in old]
    changes += [Change("gone", r.type, r.name, holds_data=_holds_data(r)) for urn, r in old.items() if urn not in new]
    for urn, resource in new.items():
        if urn in old and old[urn].inputs != resource.inputs:
            keys = sorted({*old[urn].inputs, *resource.inputs})
            changed = tuple(
                key for key in keys if old[urn].inputs.get(key) != resource.inputs.get(key) and not key.startswith("__")
            )
            if changed:
                replacing = tuple(key for key in changed if _replaces(old[urn], resource, key))
                holds = _holds_data(resource)
                changes.append(Change("changed", resource.type, resource.name, changed, replacing, holds))

    def grants(item: Review) -> dict[Any, Any]:
        return {(g.who, g.service, g.access, g.actions, g.resources, g.conditions): g for g in item.grants}

    old_grants, new_grants = grants(before), grants(now)
    old_findings, new_findings = ({finding.key: finding for finding in item.findings} for item in (before, now))
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


def _holds_data(resource: Resource) -> bool:
    return resource.type in _DATA


def _replaces(before: Resource, now: Resource, key: str) -> bool:
    """Whether the change of an input has the resource made anew; a value that is unknown before and after may stay."""
    from groundplan.local.provider.replacing import replaces

    old, new = before.inputs.get(key), now.inputs.get(key)
    return old is not None and old != UNKNOWN and any(replaces(now.type, path) for path in _differing(key, old, new))


def _differing(path: str, old: Any, new: Any) -> Iterator[str]:
    """The paths below an input that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differing(f"{path}.{key}", old.get(key), new.get(key)) if old.get(key) != new.get(key) else ()
    else:
        yield path
