"""A backup of the local cloud: one file with everything that ``groundplan up`` does not build again.

It holds what AWS keeps when an environment is lost: the objects of every bucket with all of their versions, the online
features, the SageMaker Model Registry, MLflow's database, secrets and signing keys. On AWS keys and secrets stay in
KMS and Secrets Manager; here they end with the process that plays them, so the file is for its owner only (mode 0600).
All of it is of one moment: while it is read, the local cloud answers nobody else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from groundplan.local.home import Home, State
from groundplan.local.moto.aws import HOLD, Cloud
from spec.errors import GroundplanError, UsageError
from spec.outputs import Outputs, read

FORMAT = 1
MANIFEST, BUCKETS, OBJECTS, TABLES, PACKAGES, SERVING, OUTPUTS, KEYS, SECRETS, ASKED = (
    "backup.json",
    "buckets.json",
    "objects.json",
    "tables.json",
    "packages.json",
    "serving.json",
    "outputs.json",
    "keys.json",
    "secrets.json",
    "asked.json",
)
DATABASE, FILES, BLOBS = "mlflow.db", "files/", "blobs/"
LONGEST_HOLD_S = 25.0  # clients of the local cloud wait for 30 seconds
_WAITS_S = 60
_BYTES = "base64 of bytes"
_MODEL = ("ModelName", "PrimaryContainer", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation")
_CONFIG = ("EndpointConfigName", "ProductionVariants", "ShadowProductionVariants", "DataCaptureConfig", "KmsKeyId")
HEADERS = (
    "ContentType",
    "ContentEncoding",
    "ContentDisposition",
    "ContentLanguage",
    "CacheControl",
    "StorageClass",
    "Metadata",
    "ObjectLockMode",
)
_TABLE = ("AttributeDefinitions", "KeySchema")
_INDEX = ("IndexName", "KeySchema", "Projection")
_PACKAGE = (
    "ModelPackageDescription",
    "ModelApprovalStatus",
    "ApprovalDescription",
    "InferenceSpecification",
    "ModelMetrics",
    "CustomerMetadataProperties",
)


def back_up(home: Home, target: Path | None = None) -> dict[str, Any]:
    """Write a backup of the running platform; returns what is in it.

    Args:
        target: The file. Default: named after the time, in ``.groundplan/backups/``.

    Raises:
        GroundplanError: The platform is not running, or the file can't be written.
        UsageError: The file exists.
    """
    from groundplan.local.asking import asked
    from groundplan.local.inside import running

    with home.lock():
        state = running(home)
        outputs = read(str(home.outputs_file))
        began = datetime.now(UTC)
        file = target or home.backups / f"{state.stack}-{began:%Y%m%dT%H%M%SZ}.zip"
        if file.exists():
            raise UsageError("exists already", where=str(file), fix="name another file: --to FILE")
        questions = asked(home)
        temporary = file.with_name(f"{file.name}.{os.getpid()}.new")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # noqa: PTH123 (a descriptor with its mode)
                written = _Written(archive)
                with _held(state) as cloud:
                    taken = datetime.now(UTC)
                    counts = _collect(written, home, state, outputs, cloud)
                written.json(ASKED, questions)
                manifest = {
                    "format": FORMAT,
                    "taken_at": taken.isoformat(timespec="milliseconds"),
                    "project": outputs.project,
                    "stack": state.stack,
                    "region": state.region,
                    "account_id": outputs.account_id,
                    **counts,
                    "answers": sum(len(each["requests"]) for each in questions.values()),
                    "not_backed_up": [name for name in ("kafka", "mlflow") if not state.services[name].owned],
                    "sha256": written.digests,
                }
                archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            temporary.replace(file)
        except OSError as error:
            raise GroundplanError(
                f"can't be written: {error.strerror or error}", where=str(file), fix="name another place: --to FILE"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        **{key: value for key, value in manifest.items() if key != "sha256"},
    }


class _Written:
    """Writes members and keeps their digests; a blob is written once, whatever number of objects have it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.digests: dict[str, str] = {}

    def member(self, name: str, content: bytes) -> None:
        self.digests[name] = hashlib.sha256(content).hexdigest()
        self._archive.writestr(name, content)

    def json(self, name: str, content: Any) -> None:
        self.member(name, json.dumps(content, default=_plain).encode())

    def blob(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        if BLOBS + name not in self.digests:
            self.member(BLOBS + name, content)
        return name


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a backup")


def unplain(value: dict[str, Any]) -> Any:
    """What ``_plain`` has written, for ``json.loads(object_hook=...)``."""
    return base64.b64decode(value[_BYTES]) if value.keys() == {_BYTES} else value


@contextmanager
def _held(state: State) -> Iterator[Cloud]:
    """The local cloud, which answers nobody else meanwhile.

    Raises:
        GroundplanError: It took longer than the others could wait, so that something may have changed.
    """
    import httpx

    address, token = f"{state.services['aws'].url}/_groundplan/hold", secrets.token_hex(16)
    with httpx.Client(trust_env=False, timeout=_WAITS_S) as http:
        http.post(f"{address}/{token}", json={"seconds": LONGEST_HOLD_S}).raise_for_status()
        try:
            yield Cloud(state.services["aws"].url, state.region, token)
        finally:
            held = http.post(f"{address}/{token}", json={"seconds": 0}).text == "held"
    if not held:
        raise GroundplanError(
            f"reading took longer than {LONGEST_HOLD_S:.0f} s, so the backup would not be of one moment",
            where=state.services["aws"].url,
            fix="run it again when the machine is less busy; nothing was written",
        )


def _collect(written: _Written, home: Home, state: State, outputs: Outputs, cloud: Cloud) -> dict[str, int]:
    import httpx

    objects = list(_objects(written, cloud))
    written.json(OBJECTS, objects)
    dynamodb = cloud.client("dynamodb")
    tables = {
        name: {
            "table": _table(dynamodb.describe_table(TableName=name)["Table"]),
            "items": [
                item for page in dynamodb.get_paginator("scan").paginate(TableName=name) for item in page["Items"]
            ],
        }
        for page in dynamodb.get_paginator("list_tables").paginate()
        for name in page["TableNames"]
    }
    written.json(TABLES, tables)
    s3 = cloud.client("s3")
    buckets = {
        item["Name"]: s3.get_bucket_versioning(Bucket=item["Name"]).get("Status", "")
        for item in s3.list_buckets()["Buckets"]
    }
    written.json(BUCKETS, buckets)
    serving, packages = _serving(cloud), list(_packages(cloud))
    written.json(SERVING, serving)
    written.json(OUTPUTS, json.loads(home.outputs_file.read_text(encoding="utf-8")))
    written.json(PACKAGES, packages)
    found = httpx.get(
        f"{cloud.endpoint}/_groundplan/keys", headers={HOLD: cloud.hold}, timeout=_WAITS_S, trust_env=False
    )
    keys = found.raise_for_status().json()
    written.json(KEYS, keys)
    manager = cloud.client("secretsmanager")
    values = {
        purpose: manager.get_secret_value(SecretId=arn)["SecretString"] for purpose, arn in outputs.secret_arns.items()
    }
    written.json(SECRETS, values)
    if state.services["mlflow"].owned:
        written.member(DATABASE, _database(home))
    for path in sorted((*home.run.glob("models/*.json"), *home.reports.rglob("*"))):
        if path.is_file():
            written.member(f"{FILES}{path.relative_to(home.run)}", path.read_bytes())
    return {
        "buckets": len(buckets),
        "objects": len(objects),
        "items": sum(len(each["items"]) for each in tables.values()),
        "packages": sum(len(group["packages"]) for group in packages),
        "endpoints": len(serving["endpoints"]),
        "keys": len(keys),
        "secrets": len(values),
    }


def _table(described: dict[str, Any]) -> dict[str, Any]:
    """What is needed to create a table that the program does not."""
    indexes = [{key: index[key] for key in _INDEX} for index in described.get("GlobalSecondaryIndexes") or ()]
    local = [{key: index[key] for key in _INDEX} for index in described.get("LocalSecondaryIndexes") or ()]
    return {
        **{key: described[key] for key in _TABLE},
        **({"GlobalSecondaryIndexes": indexes} if indexes else {}),
        **({"LocalSecondaryIndexes": local} if local else {}),
    }


def _objects(written: _Written, cloud: Cloud) -> Iterator[dict[str, Any]]:
    """Every version of every object and every delete marker, the oldest first."""
    s3 = cloud.client("s3")
    for bucket in (item["Name"] for item in s3.list_buckets()["Buckets"]):
        found = []
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found += [(item, False) for item in page.get("Versions", [])]
            found += [(item, True) for item in page.get("DeleteMarkers", [])]
        # S3 lists a key's newest version first, with times to the second, and deletions apart. Of one second, what is
        # latest comes last, and deletions after what they delete.
        found.reverse()
        for item, deleted in sorted(found, key=lambda one: (one[0]["LastModified"], one[0]["IsLatest"], one[1])):
            place = {"bucket": bucket, "key": item["Key"]}
            if deleted:
                yield {**place, "deleted": True}
                continue
            version = {} if item["VersionId"] == "null" else {"VersionId": item["VersionId"]}
            answer = s3.get_object(Bucket=bucket, Key=item["Key"], **version)
            more = {name: answer[name] for name in (*HEADERS, "ObjectLockRetainUntilDate") if answer.get(name)}
            if answer.get("TagCount"):
                more["tags"] = s3.get_object_tagging(Bucket=bucket, Key=item["Key"], **version)["TagSet"]
            yield {**place, "blob": written.blob(answer["Body"].read()), **more}


def _packages(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """The SageMaker Model Registry, in the order in which its versions were added."""
    sagemaker = cloud.client("sagemaker")
    for name in listed(sagemaker, "ModelPackageGroup"):
        described = sagemaker.describe_model_package_group(ModelPackageGroupName=name)
        pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
        arns = [item["ModelPackageArn"] for page in pages for item in page["ModelPackageSummaryList"]]
        packages = [sagemaker.describe_model_package(ModelPackageName=arn) for arn in arns]
        yield {
            "ModelPackageGroupName": name,
            "ModelPackageGroupDescription": described.get("ModelPackageGroupDescription", ""),
            "Tags": sagemaker.list_tags(ResourceArn=described["ModelPackageGroupArn"])["Tags"],
            "packages": [
                {key: package[key] for key in _PACKAGE if package.get(key)}
                for package in sorted(packages, key=lambda package: package["ModelPackageVersion"])
            ],
        }


def _serving(cloud: Cloud) -> dict[str, Any]:
    """SageMaker's models, configurations, and what each endpoint serves."""
    sagemaker = cloud.client("sagemaker")
    models = [sagemaker.describe_model(ModelName=name) for name in listed(sagemaker, "Model")]
    configs = [
        sagemaker.describe_endpoint_config(EndpointConfigName=name) for name in listed(sagemaker, "EndpointConfig")
    ]
    return {
        "models": [
            {
                **{key: model[key] for key in _MODEL if model.get(key)},
                "Tags": sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"],
            }
            for model in models
        ],
        "configs": [{key: config[key] for key in _CONFIG if config.get(key)} for config in configs],
        "endpoints": {
            name: sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
            for name in listed(sagemaker, "Endpoint")
        },
    }


def listed(sagemaker: Any, kind: str) -> list[str]:
    """Names of every ``Model``, ``EndpointConfig``, ``Endpoint`` or ``ModelPackageGroup``."""
    operation, answer = {
        "Model": ("list_models", "Models"),
        "EndpointConfig": ("list_endpoint_configs", "EndpointConfigs"),
        "Endpoint": ("list_endpoints", "Endpoints"),
        "ModelPackageGroup": ("list_model_package_groups", "ModelPackageGroupSummaryList"),
    }[kind]
    pages = sagemaker.get_paginator(operation).paginate()
    return [item[f"{kind}Name"] for page in pages for item in page[answer]]


def _database(home: Home) -> bytes:
    """MLflow's database, as SQLite copies one that is in use."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / DATABASE
        with closing(sqlite3.connect(home.database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy.read_bytes()
