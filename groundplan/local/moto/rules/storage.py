"""Keys, buckets, tables, databases, secrets, the catalogue."""

from __future__ import annotations

import base64
import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule
from spec.errors import GroundplanError


def _rotate(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if inputs.get("enableKeyRotation"):
        cloud.call("kms", "EnableKeyRotation", {"KeyId": answer["KeyMetadata"]["KeyId"]})


def _table(cloud: Cloud, inputs: Inputs) -> Made:
    keys = [
        {"AttributeName": inputs[name], "KeyType": kind}
        for name, kind in (("hashKey", "HASH"), ("rangeKey", "RANGE"))
        if name in inputs
    ]
    request: dict[str, Any] = {
        "TableName": inputs["name"],
        "KeySchema": keys,
        "AttributeDefinitions": [
            {"AttributeName": item["name"], "AttributeType": item["type"]} for item in inputs["attributes"]
        ],
        "BillingMode": inputs["billingMode"],
        "DeletionProtectionEnabled": inputs.get("deletionProtectionEnabled", False),
        "Tags": [{"Key": k, "Value": v} for k, v in inputs.get("tags", {}).items()],
    }
    if (encryption := inputs.get("serverSideEncryption", {})).get("enabled"):
        request["SSESpecification"] = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": encryption["kmsKeyArn"]}
    if inputs["billingMode"] == "PROVISIONED":
        request["ProvisionedThroughput"] = {
            "ReadCapacityUnits": int(inputs["readCapacity"]),
            "WriteCapacityUnits": int(inputs["writeCapacity"]),
        }
    if inputs.get("streamEnabled"):
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": inputs["streamViewType"]}
    answer = cloud.call("dynamodb", "CreateTable", request)
    if (expiry := inputs.get("ttl", {})).get("enabled"):
        cloud.call(
            "dynamodb",
            "UpdateTimeToLive",
            {
                "TableName": inputs["name"],
                "TimeToLiveSpecification": {"Enabled": True, "AttributeName": expiry["attributeName"]},
            },
        )
    for replica in inputs.get("replicas", []):
        change = {"Create": {"RegionName": replica["regionName"], "KMSMasterKeyId": replica["kmsKeyArn"]}}
        cloud.call("dynamodb", "UpdateTable", {"TableName": inputs["name"], "ReplicaUpdates": [change]})
    if inputs.get("pointInTimeRecovery", {}).get("enabled"):
        cloud.call(
            "dynamodb",
            "UpdateContinuousBackups",
            {"TableName": inputs["name"], "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}},
        )
    return inputs["name"], {"arn": answer["TableDescription"]["TableArn"]}


def _bucket(cloud: Cloud, inputs: Inputs) -> Made:
    # us-east-1 is the one region that must not be named as a location constraint.
    location = (
        {} if cloud.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    )
    name = inputs["bucket"]
    cloud.call(
        "s3",
        "CreateBucket",
        {"Bucket": name, "ObjectLockEnabledForBucket": inputs.get("objectLockEnabled", False), **location},
    )
    if tags := inputs.get("tags"):
        cloud.call(
            "s3",
            "PutBucketTagging",
            {"Bucket": name, "Tagging": {"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}},
        )
    return name, {"arn": f"arn:aws:s3:::{name}", "bucketDomainName": f"{name}.s3.amazonaws.com"}


def _object(cloud: Cloud, inputs: Inputs) -> Made:
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": inputs["kmsKeyId"]} if "kmsKeyId" in inputs else {}
    answer = cloud.call(
        "s3",
        "PutObject",
        {
            "Bucket": inputs["bucket"],
            "Key": inputs["key"],
            "Body": _body(inputs),
            "ContentType": inputs.get("contentType", "application/octet-stream"),
            **encryption,
        },
    )
    return inputs["key"], {"arn": f"arn:aws:s3:::{inputs['bucket']}/{inputs['key']}", "etag": answer["ETag"].strip('"')}


def _body(inputs: Inputs) -> bytes:
    source = inputs.get("source")
    if isinstance(source, dict):
        return _zipped(source)
    if isinstance(source, Path):
        return (
            _zipped({str(file.relative_to(source)): file for file in sorted(source.rglob("*")) if file.is_file()})
            if source.is_dir()
            else source.read_bytes()
        )
    if source is not None:
        return str(source).encode()
    return base64.b64decode(inputs["contentBase64"]) if "contentBase64" in inputs else str(inputs["content"]).encode()


def _zipped(files: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            if isinstance(file, str):
                archive.writestr(name, file)
            else:
                archive.write(file, name)
    return buffer.getvalue()


def _lifecycle(cloud: Cloud, inputs: Inputs) -> Made:
    rules = []
    for rule in inputs["rules"]:
        rendered: dict[str, Any] = {
            "ID": rule["id"],
            "Status": rule["status"],
            "Filter": {"Prefix": rule.get("filter", {}).get("prefix", "")},
        }
        if old := rule.get("noncurrentVersionExpiration"):
            rendered["NoncurrentVersionExpiration"] = {"NoncurrentDays": int(old["noncurrentDays"])}
        if parts := rule.get("abortIncompleteMultipartUpload"):
            rendered["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": int(parts["daysAfterInitiation"])}
        if moves := rule.get("transitions"):
            rendered["Transitions"] = [
                {"Days": int(move["days"]), "StorageClass": move["storageClass"]} for move in moves
            ]
        if end := rule.get("expiration"):
            rendered["Expiration"] = {"Days": int(end["days"])}
        rules.append(rendered)
    cloud.call(
        "s3",
        "PutBucketLifecycleConfiguration",
        {"Bucket": inputs["bucket"], "LifecycleConfiguration": {"Rules": rules}},
    )
    return inputs["bucket"], {}


def _replica_key(cloud: Cloud, inputs: Inputs) -> Made:
    """Requested in the primary's region, which its ARN names."""
    _, _, _, home, _, key = inputs["primaryKeyArn"].split(":")
    answer = cloud.at(home).call(
        "kms", "ReplicateKey", {"KeyId": key.removeprefix("key/"), "ReplicaRegion": cloud.region}
    )
    if tags := inputs.get("tags"):
        pairs = [{"TagKey": name, "TagValue": value} for name, value in sorted(tags.items())]
        cloud.call("kms", "TagResource", {"KeyId": answer["ReplicaKeyMetadata"]["KeyId"], "Tags": pairs})
    metadata = answer["ReplicaKeyMetadata"]
    return metadata["KeyId"], {"arn": metadata["Arn"], "keyId": metadata["KeyId"]}


def _object_lock(cloud: Cloud, inputs: Inputs) -> Made:
    from botocore.exceptions import ClientError

    retention = inputs["rule"]["defaultRetention"]
    rule = {"DefaultRetention": {"Mode": retention["mode"], "Days": int(retention["days"])}}
    try:
        cloud.call(
            "s3",
            "PutObjectLockConfiguration",
            {"Bucket": inputs["bucket"], "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": rule}},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidBucket":
            raise
        # AWS can change it at any time, moto only in an empty bucket.
        raise GroundplanError(
            "the lock of a bucket that contains objects changed, and the local cloud can't change that in place",
            fix="run `groundplan down`, then `groundplan up`; or undo the change",
        ) from error
    return inputs["bucket"], {}


def _parameter_group(cloud: Cloud, inputs: Inputs) -> Made:
    answer = cloud.call(
        "rds",
        "CreateDBParameterGroup",
        {
            "DBParameterGroupName": inputs["name"],
            "DBParameterGroupFamily": inputs["family"],
            "Description": inputs.get("description", "Managed by Pulumi"),
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(inputs.get("tags", {}).items())],
        },
    )
    parameters = [
        {
            "ParameterName": item["name"],
            "ParameterValue": item["value"],
            "ApplyMethod": item.get("applyMethod", "immediate"),
        }
        for item in inputs["parameters"]
    ]
    cloud.call("rds", "ModifyDBParameterGroup", {"DBParameterGroupName": inputs["name"], "Parameters": parameters})
    return inputs["name"], {"arn": answer["DBParameterGroup"]["DBParameterGroupArn"]}


def _workgroup(cloud: Cloud, inputs: Inputs) -> Made:
    wanted = inputs["configuration"]
    result = wanted["resultConfiguration"]
    configuration = {
        "EnforceWorkGroupConfiguration": wanted["enforceWorkgroupConfiguration"],
        "PublishCloudWatchMetricsEnabled": wanted["publishCloudwatchMetricsEnabled"],
        "BytesScannedCutoffPerQuery": int(wanted["bytesScannedCutoffPerQuery"]),
        "ResultConfiguration": {
            "OutputLocation": result["outputLocation"],
            "EncryptionConfiguration": {
                "EncryptionOption": result["encryptionConfiguration"]["encryptionOption"],
                "KmsKey": result["encryptionConfiguration"]["kmsKeyArn"],
            },
        },
    }
    tags = [{"Key": k, "Value": v} for k, v in inputs.get("tags", {}).items()]
    cloud.call("athena", "CreateWorkGroup", {"Name": inputs["name"], "Configuration": configuration, "Tags": tags})
    return inputs["name"], {"arn": cloud.arn("athena", f"workgroup/{inputs['name']}")}


def _database_secret(answer: dict[str, Any]) -> dict[str, Any]:
    secret = answer["DBInstance"]["MasterUserSecret"]
    return {
        "masterUserSecrets": [
            {
                "secretArn": secret["SecretArn"],
                "secretStatus": secret["SecretStatus"],
                "kmsKeyId": secret.get("KmsKeyId", ""),
            }
        ]
    }


def _new_schema_version(cloud: Cloud, inputs: Inputs, schema: str) -> None:
    """A changed contract is a new version of its schema; the registry refuses one that its compatibility mode
    forbids.
    """
    cloud.call(
        "glue",
        "RegisterSchemaVersion",
        {"SchemaId": {"SchemaArn": schema}, "SchemaDefinition": inputs["schemaDefinition"]},
    )


def _read_key(cloud: Cloud, inputs: Inputs, key: str) -> Inputs | None:
    found = cloud.call("kms", "DescribeKey", {"KeyId": key})["KeyMetadata"]
    if found["KeyState"] == "PendingDeletion":
        return None
    told = {
        "description": found["Description"],
        "policy": cloud.call("kms", "GetKeyPolicy", {"KeyId": key, "PolicyName": "default"})["Policy"],
    }
    return {
        **told,
        "enableKeyRotation": cloud.call("kms", "GetKeyRotationStatus", {"KeyId": key})["KeyRotationEnabled"],
    }


def _delete_key(cloud: Cloud, inputs: Inputs, key: str) -> None:
    """As on AWS it is immediately unavailable to its users, and permanently deleted after its window."""
    cloud.call(
        "kms",
        "ScheduleKeyDeletion",
        {"KeyId": key, "PendingWindowInDays": int(inputs.get("deletionWindowInDays") or 30)},
    )


def _new_rotation(cloud: Cloud, inputs: Inputs, key: str) -> None:
    cloud.call("kms", "EnableKeyRotation" if inputs.get("enableKeyRotation") else "DisableKeyRotation", {"KeyId": key})


def _delete_versions(cloud: Cloud, bucket: str, prefix: str = "", key: str = "") -> None:
    """Every version of one object, or of all."""
    while True:
        page = cloud.call("s3", "ListObjectVersions", {"Bucket": bucket, "Prefix": key or prefix})
        found = [
            item
            for kind in ("Versions", "DeleteMarkers")
            for item in page.get(kind, [])
            if not key or item["Key"] == key
        ]
        if not found:
            return
        cloud.call(
            "s3",
            "DeleteObjects",
            {
                "Bucket": bucket,
                "Delete": {"Objects": [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]},
            },
        )


def _delete_bucket(cloud: Cloud, inputs: Inputs, bucket: str) -> None:
    """AWS refuses to delete one that contains objects, unless it is forced."""
    if inputs.get("forceDestroy"):
        _delete_versions(cloud, bucket)
    cloud.call("s3", "DeleteBucket", {"Bucket": bucket})


def _delete_object(cloud: Cloud, inputs: Inputs, key: str) -> None:
    _delete_versions(cloud, inputs["bucket"], key=key)


def _suspend_versions(cloud: Cloud, inputs: Inputs, bucket: str) -> None:
    """A bucket that has had versions can't go back to having none, nor one with Object Lock to one without."""
    from botocore.exceptions import ClientError

    with contextlib.suppress(ClientError):
        cloud.call("s3", "PutBucketVersioning", {"Bucket": bucket, "VersioningConfiguration": {"Status": "Suspended"}})


def _read_lifecycle(cloud: Cloud, inputs: Inputs, bucket: str) -> Inputs:
    """Retention times by the names of their rules; a removed rule has none."""
    found = {
        rule.get("ID"): rule
        for rule in cloud.call("s3", "GetBucketLifecycleConfiguration", {"Bucket": bucket})["Rules"]
    }
    rules = []
    for given in inputs["rules"]:
        there, rule = found.get(given["id"]), dict(given)
        if there is None:
            continue
        rule["status"] = there["Status"]
        if "expiration" in given:
            rule["expiration"] = {**given["expiration"], "days": there.get("Expiration", {}).get("Days", 0)}
        if "noncurrentVersionExpiration" in given:
            days = there.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0)
            rule["noncurrentVersionExpiration"] = {**given["noncurrentVersionExpiration"], "noncurrentDays": days}
        rules.append(rule)
    return {"rules": rules}


def _read_replication(cloud: Cloud, inputs: Inputs, bucket: str) -> Inputs:
    found = cloud.call("s3", "GetBucketReplication", {"Bucket": bucket})["ReplicationConfiguration"]
    # moto accepts "Enabled" for delete markers, but reports "Disabled".
    return {
        **found,
        "Rules": [
            {key: value for key, value in rule.items() if key != "DeleteMarkerReplication"} for rule in found["Rules"]
        ],
    }


def _delete_secret(cloud: Cloud, inputs: Inputs, secret: str) -> None:
    days = inputs.get("recoveryWindowInDays")
    how: dict[str, Any] = (
        {"ForceDeleteWithoutRecovery": True} if days == 0 else {"RecoveryWindowInDays": int(days or 30)}
    )
    if copies := [each["region"] for each in inputs.get("replicas") or ()]:  # AWS deletes no secret that has copies
        known = {"SecretId": secret, "RemoveReplicaRegions": copies}
        cloud.call("secretsmanager", "RemoveRegionsFromReplication", known)
    cloud.call("secretsmanager", "DeleteSecret", {"SecretId": secret, **how})


def _read_secret(cloud: Cloud, inputs: Inputs, secret: str) -> Inputs | None:
    found = cloud.call("secretsmanager", "DescribeSecret", {"SecretId": secret})
    # moto forgets the key of a copy.
    keys = {each["region"]: each.get("kmsKeyId") for each in inputs.get("replicas") or ()}
    copies = [
        {"Region": each["Region"], "KmsKeyId": keys.get(each["Region"]) or each["KmsKeyId"]}
        for each in found.get("ReplicationStatus", ())
    ]
    return None if "DeletedDate" in found else {**found, **({"AddReplicaRegions": copies} if copies else {})}


def _new_secret(cloud: Cloud, inputs: Inputs, secret: str) -> None:
    wanted = {
        "Description": inputs.get("description", ""),
        **({"KmsKeyId": inputs["kmsKeyId"]} if inputs.get("kmsKeyId") else {}),
    }
    cloud.call("secretsmanager", "UpdateSecret", {"SecretId": secret, **wanted})


def _read_schema(cloud: Cloud, inputs: Inputs, schema: str) -> Inputs:
    found = cloud.call("glue", "GetSchema", {"SchemaId": {"SchemaArn": schema}})
    newest = {"SchemaId": {"SchemaArn": schema}, "SchemaVersionNumber": {"LatestVersion": True}}
    return {**found, "SchemaDefinition": cloud.call("glue", "GetSchemaVersion", newest)["SchemaDefinition"]}


def _delete_database(cloud: Cloud, inputs: Inputs, database: str) -> None:
    last = (
        {}
        if inputs.get("skipFinalSnapshot")
        else {"FinalDBSnapshotIdentifier": inputs.get("finalSnapshotIdentifier") or f"{database}-final"}
    )
    cloud.call("rds", "DeleteDBInstance", {"DBInstanceIdentifier": database, "SkipFinalSnapshot": not last, **last})


def _new_database(parameter: str, key: str) -> Callable[[Cloud, Inputs, str], None]:
    def update(cloud: Cloud, inputs: Inputs, database: str) -> None:
        cloud.call(
            "rds",
            "ModifyDBInstance",
            {"DBInstanceIdentifier": database, parameter: inputs[key], "ApplyImmediately": True},
        )

    return update


def _new_table(cloud: Cloud, inputs: Inputs, table: str) -> None:
    cloud.call(
        "dynamodb",
        "UpdateTable",
        {"TableName": table, "DeletionProtectionEnabled": bool(inputs.get("deletionProtectionEnabled"))},
    )


def _new_recovery(cloud: Cloud, inputs: Inputs, table: str) -> None:
    enabled = {"PointInTimeRecoveryEnabled": bool((inputs.get("pointInTimeRecovery") or {}).get("enabled"))}
    cloud.call("dynamodb", "UpdateContinuousBackups", {"TableName": table, "PointInTimeRecoverySpecification": enabled})


def _nothing_to_do(cloud: Cloud, inputs: Inputs, physical: str) -> None:
    """What matters only to the provider."""


RULES: dict[str, Rule] = {
    "aws:kms/key:Key": Rule(
        "kms",
        "CreateKey",
        # The request's old name lacks the newer kinds of keys.
        rename={"enableKeyRotation": None, "deletionWindowInDays": None, "customerMasterKeySpec": "KeySpec"},
        id="{answer[KeyMetadata][KeyId]}",
        outputs={"arn": "{answer[KeyMetadata][Arn]}", "keyId": "{answer[KeyMetadata][KeyId]}"},
        then=_rotate,
        update={
            "description": lambda cloud, inputs, key: cloud.call(
                "kms", "UpdateKeyDescription", {"KeyId": key, "Description": inputs.get("description", "")}
            ),
            "policy": lambda cloud, inputs, key: cloud.call(
                "kms", "PutKeyPolicy", {"KeyId": key, "PolicyName": "default", "Policy": inputs["policy"]}
            ),
            "enableKeyRotation": _new_rotation,
            "deletionWindowInDays": _nothing_to_do,
        },
        read=_read_key,
        delete=_delete_key,
    ),
    "aws:kms/alias:Alias": Rule(
        "kms",
        "CreateAlias",
        rename={"name": "AliasName"},
        id="{inputs[name]}",
        delete=("DeleteAlias", {"AliasName": "{id}"}),
        replaceable=True,
        read=("DescribeKey", {"KeyId": "{id}"}, "{targetKeyId: KeyMetadata.KeyId}"),
    ),
    "aws:s3/bucket:Bucket": Rule(
        "s3",
        make=_bucket,
        update={"forceDestroy": _nothing_to_do},
        read=("HeadBucket", {"Bucket": "{id}"}, ""),
        delete=_delete_bucket,
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Rule(
        "s3",
        make=_object,
        idempotent=True,
        read=(
            "HeadObject",
            {"Bucket": "{inputs[bucket]}", "Key": "{id}"},
            "{contentType: ContentType, kmsKeyId: SSEKMSKeyId}",
        ),
        delete=_delete_object,
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Rule(
        "s3",
        "PutBucketVersioning",
        id="{inputs[bucket]}",
        idempotent=True,
        read=("GetBucketVersioning", {"Bucket": "{id}"}, "{versioningConfiguration: @}"),
        delete=_suspend_versions,
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Rule(
        "s3",
        "PutBucketEncryption",
        rename={"rules": "ServerSideEncryptionConfiguration.Rules"},
        id="{inputs[bucket]}",
        idempotent=True,
        read=("GetBucketEncryption", {"Bucket": "{id}"}, "ServerSideEncryptionConfiguration"),
        delete=("DeleteBucketEncryption", {"Bucket": "{id}"}),
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Rule(
        "s3",
        "PutPublicAccessBlock",
        rename={
            key: f"PublicAccessBlockConfiguration.{key}"
            for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
        id="{inputs[bucket]}",
        idempotent=True,
        read=("GetPublicAccessBlock", {"Bucket": "{id}"}, "PublicAccessBlockConfiguration"),
        delete=("DeletePublicAccessBlock", {"Bucket": "{id}"}),
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Rule(
        "s3",
        "PutBucketPolicy",
        id="{inputs[bucket]}",
        idempotent=True,
        read=("GetBucketPolicy", {"Bucket": "{id}"}, ""),
        delete=("DeleteBucketPolicy", {"Bucket": "{id}"}),
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Rule(
        "s3",
        make=_lifecycle,
        idempotent=True,
        read=_read_lifecycle,
        delete=("DeleteBucketLifecycle", {"Bucket": "{id}"}),
    ),
    "aws:secretsmanager/secret:Secret": Rule(
        "secretsmanager",
        "CreateSecret",
        rename={"recoveryWindowInDays": None, "replicas": "AddReplicaRegions"},
        id="{answer[ARN]}",
        outputs={"arn": "{answer[ARN]}"},
        update={"description": _new_secret, "kmsKeyId": _new_secret, "recoveryWindowInDays": _nothing_to_do},
        read=_read_secret,
        delete=_delete_secret,
    ),
    "aws:glue/registry:Registry": Rule(
        "glue",
        "CreateRegistry",
        id="{answer[RegistryArn]}",
        outputs={"arn": "{answer[RegistryArn]}"},
        read=("GetRegistry", {"RegistryId.RegistryArn": "{id}"}, ""),
        delete=("DeleteRegistry", {"RegistryId.RegistryArn": "{id}"}),
    ),
    "aws:glue/schema:Schema": Rule(
        "glue",
        "CreateSchema",
        rename={"registryArn": "RegistryId.RegistryArn"},
        id="{answer[SchemaArn]}",
        outputs={"arn": "{answer[SchemaArn]}", "registryName": "{answer[RegistryName]}"},
        update={"schemaDefinition": _new_schema_version, "description": lambda cloud, inputs, schema: None},
        read=_read_schema,
        delete=("DeleteSchema", {"SchemaId.SchemaArn": "{id}"}),
    ),
    "aws:dynamodb/table:Table": Rule(
        "dynamodb",
        make=_table,
        delete=("DeleteTable", {"TableName": "{id}"}),
        update={"deletionProtectionEnabled": _new_table, "pointInTimeRecovery": _new_recovery},
        read=("DescribeTable", {"TableName": "{id}"}, "Table"),
    ),
    "aws:rds/subnetGroup:SubnetGroup": Rule(
        "rds",
        "CreateDBSubnetGroup",
        rename={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[DBSubnetGroup][DBSubnetGroupArn]}"},
        delete=("DeleteDBSubnetGroup", {"DBSubnetGroupName": "{id}"}),
        read=("DescribeDBSubnetGroups", {"DBSubnetGroupName": "{id}"}, "DBSubnetGroups[0]"),
    ),
    "aws:rds/instance:Instance": Rule(
        "rds",
        "CreateDBInstance",
        rename={
            "backupWindow": "PreferredBackupWindow",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "identifier": "DBInstanceIdentifier",
            "instanceClass": "DBInstanceClass",
            "username": "MasterUsername",
            "skipFinalSnapshot": None,
            "finalSnapshotIdentifier": None,
            "applyImmediately": None,
            "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
            "parameterGroupName": "DBParameterGroupName",
            "performanceInsightsEnabled": "EnablePerformanceInsights",
            "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
        },
        id="{inputs[identifier]}",
        outputs={
            "arn": "{answer[DBInstance][DBInstanceArn]}",
            "endpoint": "{answer[DBInstance][Endpoint][Address]}:{answer[DBInstance][Endpoint][Port]}",
            "address": "{answer[DBInstance][Endpoint][Address]}",
        },
        more=_database_secret,
        update={
            key: _new_database(parameter, key)
            for key, parameter in (
                ("backupRetentionPeriod", "BackupRetentionPeriod"),
                ("deletionProtection", "DeletionProtection"),
                ("allocatedStorage", "AllocatedStorage"),
                ("maxAllocatedStorage", "MaxAllocatedStorage"),
                ("instanceClass", "DBInstanceClass"),
                ("multiAz", "MultiAZ"),
                ("backupWindow", "PreferredBackupWindow"),
                ("maintenanceWindow", "PreferredMaintenanceWindow"),
                ("engineVersion", "EngineVersion"),
            )
        }
        | dict.fromkeys(("skipFinalSnapshot", "finalSnapshotIdentifier", "applyImmediately"), _nothing_to_do),
        read=("DescribeDBInstances", {"DBInstanceIdentifier": "{id}"}, "DBInstances[0]"),
        delete=_delete_database,
    ),
    "aws:kms/replicaKey:ReplicaKey": Rule("kms", make=_replica_key, read=_read_key, delete=_delete_key),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": Rule(
        "s3",
        make=_object_lock,
        idempotent=True,
        read=("GetObjectLockConfiguration", {"Bucket": "{id}"}, "{rule: ObjectLockConfiguration.Rule}"),
    ),
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": Rule(
        "s3",
        "PutBucketReplication",
        rename={"role": "ReplicationConfiguration.role", "rules": "ReplicationConfiguration.rules"},
        id="{inputs[bucket]}",
        idempotent=True,
        read=_read_replication,
        delete=("DeleteBucketReplication", {"Bucket": "{id}"}),
    ),
    "aws:rds/parameterGroup:ParameterGroup": Rule(
        "rds",
        make=_parameter_group,
        delete=("DeleteDBParameterGroup", {"DBParameterGroupName": "{id}"}),
        read=("DescribeDBParameterGroups", {"DBParameterGroupName": "{id}"}, "DBParameterGroups[0]"),
    ),
    "aws:glue/catalogDatabase:CatalogDatabase": Rule(
        "glue",
        "CreateDatabase",
        rename={"name": "DatabaseInput.name", "description": "DatabaseInput.description"},
        id="{account}:{inputs[name]}",
        outputs={"arn": "arn:aws:glue:{region}:{account}:database/{inputs[name]}"},
        delete=("DeleteDatabase", {"Name": "{inputs[name]}"}),
        replaceable=True,
        read=("GetDatabase", {"Name": "{inputs[name]}"}, "Database"),
    ),
    "aws:glue/catalogTable:CatalogTable": Rule(
        "glue",
        "CreateTable",
        rename={
            key: f"TableInput.{key}"
            for key in ("name", "description", "tableType", "parameters", "storageDescriptor", "partitionKeys")
        },
        id="{account}:{inputs[databaseName]}:{inputs[name]}",
        delete=("DeleteTable", {"DatabaseName": "{inputs[databaseName]}", "Name": "{inputs[name]}"}),
        replaceable=True,
        read=("GetTable", {"DatabaseName": "{inputs[databaseName]}", "Name": "{inputs[name]}"}, "Table"),
    ),
    "aws:athena/workgroup:Workgroup": Rule(
        "athena",
        make=_workgroup,
        replaceable=True,
        read=("GetWorkGroup", {"WorkGroup": "{id}"}, "WorkGroup"),
        delete=("DeleteWorkGroup", {"WorkGroup": "{id}"}),
    ),
    "aws:secretsmanager/secretRotation:SecretRotation": Rule(
        "secretsmanager",
        "RotateSecret",
        rename={"rotationRules": "RotationRules"},
        id="{inputs[secretId]}",
        idempotent=True,
        read=("DescribeSecret", {"SecretId": "{id}"}, "{rotationEnabled: RotationEnabled}"),
        delete=("CancelRotateSecret", {"SecretId": "{id}"}),
    ),
}
