"""A backup into an empty local cloud: services, program, stored data, endpoints; then whether it answers the same."""

from __future__ import annotations

import hashlib
import json
import re
import time
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from groundplan.engine.program import project_name
from groundplan.local.asking import differing, models_of
from groundplan.local.backup import (
    ASKED,
    BLOBS,
    BUCKETS,
    DATABASE,
    FILES,
    FORMAT,
    HEADERS,
    KEYS,
    MANIFEST,
    OBJECTS,
    OUTPUTS,
    PACKAGES,
    SECRETS,
    SERVING,
    TABLES,
    listed,
    unplain,
)
from groundplan.local.home import Home, write_private
from groundplan.local.inside import bare, inside
from groundplan.local.moto.aws import Cloud
from groundplan.local.up import Talk, bring_up, location, tear_down
from pipelines.audit.records import append, entries, stack_of
from pipelines.canary.rollback import rollback
from pipelines.canary.turn import going_on
from pipelines.context import Context
from pipelines.registry.decisions import Person, check_identity
from pipelines.steps.hosting import hosting
from spec.errors import GroundplanError, UsageError
from spec.objectives import StackConfig, load
from spec.outputs import LOCAL, Outputs, read

_NEEDED = (ASKED, BUCKETS, KEYS, OBJECTS, OUTPUTS, PACKAGES, SECRETS, SERVING, TABLES)
_IDENTIFIER = re.compile(r"arn:|subnet-|sg-|\d{12}\.dkr\.ecr\.")
_TOLD = {"taken_at", "stack", "project", "region", "account_id", "not_backed_up"}


@dataclass(frozen=True)
class Backup:
    """A backup file, checked: nothing in it was changed or is missing.

    Attributes:
        told: Its manifest.
    """

    file: Path
    told: dict[str, Any]

    @property
    def taken(self) -> datetime:
        """The moment of which everything in it is."""
        return datetime.fromisoformat(self.told["taken_at"])

    def json(self, name: str) -> Any:
        """A document."""
        return json.loads(self.bytes(name), object_hook=unplain)

    def bytes(self, name: str) -> bytes:
        """A member's content."""
        return self._archive.read(name)

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.file)

    def names(self, prefix: str) -> list[str]:
        """Members below a folder."""
        return [name for name in self.told["sha256"] if name.startswith(prefix)]


def opened(file: Path) -> Backup:
    """Read a backup's manifest, and check every member against it.

    Raises:
        UsageError: There is no such file, it is no backup, or is of a newer release.
        GroundplanError: Something in it was changed or is missing.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            told = json.loads(archive.read(MANIFEST))
            if told["format"] != FORMAT:
                raise UsageError(
                    f"is a backup of format {told['format']}, and this release reads format {FORMAT}",
                    where=str(file),
                    fix="restore it with the release that has written it",
                )
            if missing := [name for name in _NEEDED if name not in told["sha256"]] or _TOLD - told.keys():
                raise UsageError(
                    f"is no backup: it has no {', '.join(sorted(missing))}",
                    where=str(file),
                    fix="name a file of `groundplan backup`",
                )
            there = set(archive.namelist())
            for name, digest in told["sha256"].items():
                if name not in there or hashlib.sha256(archive.read(name)).hexdigest() != digest:
                    what = "was changed" if name in there else "is missing"
                    raise GroundplanError(
                        f"is damaged: {name} {what}; nothing was restored",
                        where=str(file),
                        fix="restore another backup",
                    )
            return Backup(file, told)
    except OSError as error:
        raise UsageError(
            f"can't be read: {error.strerror or error}", where=str(file), fix="name a file of `groundplan backup`"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise GroundplanError(
            "is damaged, or no backup; nothing was restored",
            where=str(file),
            fix="restore another backup",
        ) from None
    except (KeyError, ValueError, TypeError):
        raise UsageError("is no backup", where=str(file), fix="name a file of `groundplan backup`") from None


@dataclass(frozen=True)
class FromBackup:
    """``groundplan.local.up.Filling`` by a backup."""

    backup: Backup

    def files(self, home: Home) -> None:
        """MLflow's database, and what ``up`` knows of models that run."""
        if DATABASE in self.backup.told["sha256"]:
            write_private(home.database, "")
            home.database.write_bytes(self.backup.bytes(DATABASE))
        for name in self.backup.names(FILES):
            path = (home.run / name.removeprefix(FILES)).resolve()
            if not path.is_relative_to(home.run.resolve()):
                raise GroundplanError(
                    f"names a file outside the platform's folder: {name}", where=str(self.backup.file)
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.backup.bytes(name))

    def bucket(self, cloud: Cloud, bucket: str) -> None:
        """One bucket's objects, with all of their versions in their order."""
        s3 = cloud.client("s3")
        for each in self.backup.json(OBJECTS):
            if each["bucket"] == bucket:
                _put(self.backup, s3, each)

    def stores(self, cloud: Cloud, outputs: Outputs, broker_bucket: str) -> None:
        """Everything that the program has made room for."""
        import httpx

        keys = self.backup.json(KEYS)
        httpx.post(f"{cloud.endpoint}/_groundplan/keys/all", json=keys, timeout=30, trust_env=False).raise_for_status()
        manager = cloud.client("secretsmanager")
        for purpose, value in self.backup.json(SECRETS).items():
            if purpose in outputs.secret_arns:
                manager.put_secret_value(SecretId=outputs.secret_arns[purpose], SecretString=value)
        s3 = cloud.client("s3")
        for bucket, versioning in self.backup.json(BUCKETS).items():
            _ensure_bucket(s3, bucket, versioning, cloud.region)
        there = {item["Name"] for item in s3.list_buckets()["Buckets"]} - {broker_bucket}
        # The program has written some objects already, with what it knows of the new environment.
        new = {
            (bucket, item["Key"])
            for bucket in there
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for item in page.get("Contents", [])
        }
        for each in self.backup.json(OBJECTS):
            if each["bucket"] in there and (each["bucket"], each["key"]) not in new:
                _put(self.backup, s3, each)
        _fill_tables(cloud, self.backup.json(TABLES))
        _fill_registry(cloud, self.backup.json(PACKAGES))
        renamed = _renamed(self.backup.json(OUTPUTS), outputs.model_dump(mode="json"))
        _fill_serving(cloud, _replaced(self.backup.json(SERVING), renamed))


def _ensure_bucket(s3: Any, bucket: str, versioning: str, region: str) -> None:
    """A bucket that the program does not create."""
    if any(item["Name"] == bucket for item in s3.list_buckets()["Buckets"]):
        return
    s3.create_bucket(Bucket=bucket, **location(region))
    if versioning:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": versioning})


def _put(backup: Backup, s3: Any, each: dict[str, Any]) -> None:
    place = {"Bucket": each["bucket"], "Key": each["key"]}
    if each.get("deleted"):
        s3.delete_object(**place)
        return
    more: dict[str, Any] = {name: each[name] for name in HEADERS if name in each}
    if "ObjectLockRetainUntilDate" in each:
        more["ObjectLockRetainUntilDate"] = datetime.fromisoformat(each["ObjectLockRetainUntilDate"])
    s3.put_object(**place, Body=backup.bytes(BLOBS + each["blob"]), **more)
    if "tags" in each:
        s3.put_object_tagging(**place, Tagging={"TagSet": each["tags"]})


def _fill_tables(cloud: Cloud, tables: dict[str, dict[str, Any]]) -> None:
    dynamodb = cloud.client("dynamodb")
    there = {name for page in dynamodb.get_paginator("list_tables").paginate() for name in page["TableNames"]}
    for table, stored in tables.items():
        if table not in there:
            dynamodb.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **stored["table"])
        items = stored["items"]
        for start in range(0, len(items), 25):
            waiting = {table: [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]}
            while waiting:
                waiting = dynamodb.batch_write_item(RequestItems=waiting).get("UnprocessedItems") or {}


def _fill_registry(cloud: Cloud, groups: list[dict[str, Any]]) -> None:
    sagemaker = cloud.client("sagemaker")
    known = set(listed(sagemaker, "ModelPackageGroup"))
    for group in groups:
        packages, name = group.pop("packages"), group["ModelPackageGroupName"]
        if name not in known:
            sagemaker.create_model_package_group(**{key: value for key, value in group.items() if value})
        for package in packages:
            status = {key: package.pop(key) for key in ("ModelApprovalStatus", "ApprovalDescription") if key in package}
            made = sagemaker.create_model_package(ModelPackageGroupName=name, **package)
            sagemaker.update_model_package(ModelPackageArn=made["ModelPackageArn"], **status)


def _fill_serving(cloud: Cloud, serving: dict[str, Any]) -> None:
    sagemaker = cloud.client("sagemaker")
    models, configs = set(listed(sagemaker, "Model")), set(listed(sagemaker, "EndpointConfig"))
    for model in serving["models"]:
        if model["ModelName"] not in models:
            sagemaker.create_model(**model)
    for config in serving["configs"]:
        if config["EndpointConfigName"] not in configs:
            sagemaker.create_endpoint_config(**config)


def _renamed(before: Any, now: Any) -> dict[str, str]:
    """Identifiers that the new environment has given anew, such as those of keys and subnets, by the old ones."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [_renamed(before[key], now[key]) for key in before.keys() & now.keys()]
    elif isinstance(before, list) and isinstance(now, list):
        pairs = [_renamed(*pair) for pair in zip(before, now, strict=False)]
    else:
        both = isinstance(before, str) and isinstance(now, str) and before != now
        return {before: now} if both and _IDENTIFIER.match(before) else {}
    return {old: new for found in pairs for old, new in found.items()}


def _replaced(value: Any, by: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, by) for item in value]
    return by.get(value, value) if isinstance(value, str) else value


def restore(
    home: Home,
    file: Path,
    identity: str,
    say: Talk = Talk(),  # noqa: B008 (it has no state)
) -> dict[str, Any]:
    """Restore a backup into an empty local cloud; returns what came back, and how that compares with the objectives.

    Raises:
        UsageError: It is no backup, or of another stack than this project's; or a platform is running.
        GroundplanError: It is damaged, or something could not be restored; nothing is left running.
    """
    began, clock = datetime.now(UTC), time.monotonic()
    check_identity(identity)
    backup = opened(file)
    config = _checked(home, backup)
    say(f"backup of {backup.told['taken_at'][:19].replace('T', ' ')} UTC, whole: {_contents(backup.told)}")
    bring_up(home, backup.told["stack"], models=(), filling=FromBackup(backup), say=say)
    try:
        found = _serving(home, backup, identity, say)
    except BaseException:
        tear_down(home)
        raise
    seconds, lost = time.monotonic() - clock, (began - backup.taken).total_seconds()
    wanted = config.objectives.recovery
    return {
        "backup": str(file),
        "taken_at": backup.told["taken_at"],
        "lost_s": round(lost, 1),
        "rpo_hours": wanted.rpo_hours,
        "seconds": round(seconds, 1),
        "rto_hours": wanted.rto_hours,
        "meets": lost <= wanted.rpo_hours * 3600 and seconds <= wanted.rto_hours * 3600,
        "not_backed_up": backup.told["not_backed_up"],
        **found,
    }


def _serving(home: Home, backup: Backup, identity: str, say: Talk) -> dict[str, Any]:
    """Serve the same versions, and ask them what was asked when the backup was taken."""
    outputs, asked = read(str(home.outputs_file)), backup.json(ASKED)
    configs = backup.json(SERVING)["endpoints"]
    for model in models_of(home, outputs):
        began = time.monotonic()
        with inside(home):
            said = _serve(bare(outputs, model), configs, backup, identity)
        say(f"{model}: {said}  [{time.monotonic() - began:.1f} s]")
    return {
        "models": {name: version for name, version in models_of(home, outputs).items() if version},
        "answers": sum(len(kept["requests"]) for kept in asked.values()),
        "different": differing(home, asked),
    }


def _serve(context: Context, configs: dict[str, str], backup: Backup, identity: str) -> str:
    """Have a model's endpoint serve what it served; a canary that went on at the backup is taken back."""
    endpoint, version = hosting(context), (stack_of(entries(context)) or [""])[-1]
    # On the cluster a configuration is a version.
    config = configs.get(endpoint.name, version if endpoint.settings.topology == "cluster" else "")
    if config and config != endpoint.config():
        endpoint.use(config, guarded=False)
    append(context, identity, "restore", version=version, reason=f"from the backup of {backup.told['taken_at'][:19]}Z")
    if going_on(context):
        tried, version = rollback(context, Person(identity, LOCAL), "its canary was interrupted")
        return f"{tried} is taken back, {version or 'no version'} is served"
    return f"{version} is served" if version else "no version is served, as before"


def _checked(home: Home, backup: Backup) -> StackConfig:
    """The stack's configuration, if the backup is of it."""
    told = backup.told
    config = load(home.root, told["stack"])
    if home.load() is not None:
        raise UsageError(
            "a platform is running here, and a backup is only restored into an empty one",
            where=str(home.root),
            fix="run `groundplan backup` if you want to keep it, and `groundplan down`",
        )
    here = (project_name(home.root), config.region, config.account_id)
    if here != (told["project"], told["region"], told["account_id"]):
        raise UsageError(
            f"is of project {told['project']} in {told['region']}, account {told['account_id']}; stack {told['stack']}"
            f" here is {here[0]} in {here[1]}, account {here[2]}",
            where=str(backup.file),
            fix="restore it in a checkout with the same Pulumi.yaml and stack file",
        )
    return config


def _contents(told: dict[str, Any]) -> str:
    return (
        f"{told['objects']} objects of {told['buckets']} buckets, {told['items']} items of tables,"
        f" {told['packages']} versions in the Model Registry, {told['endpoints']} endpoints,"
        f" {told['keys']} signing keys"
    )
