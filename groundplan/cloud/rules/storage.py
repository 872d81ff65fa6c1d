"""Keys, buckets, tables, databases, secrets, the catalogue."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import Any

from groundplan.cloud.rules.rule import Cloud, Inputs, Made, Rule


def _rotate(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if inputs.get("enableKeyRotation"):
        cloud.call("kms", "EnableKeyRotation", {"KeyId": answer["KeyMetadata"]["KeyId"]})


def _table(cloud: Cloud, inputs: Inputs) -> Made:
    keys = [{"AttributeName": inputs[name], "KeyType": kind} for name, kind in (("hashKey", "HASH"), ("rangeKey", "RANGE")) if name in inputs]
    request: dict[str, Any] = {
        "TableName": inputs["name"],
        "KeySchema": keys,
        "AttributeDefinitions": [{"AttributeName": item["name"], "AttributeType": item["type"]} for item in inputs["attributes"]],
        "BillingMode": inputs["billingMode"],
        "DeletionProtectionEnabled": inputs.get("deletionProtectionEnabled", False),
        "Tags": [{"Key": k, "Value": v} for k, v in inputs.get("tags", {}).items()],
    }
    if (encryption := inputs.get("serverSideEncryption", {})).get("enabled"):
        request["SSESpecification"] = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": encryption["kmsKeyArn"]}
    if inputs["billingMode"] == "PROVISIONED":
        request["ProvisionedThroughput"] = {"ReadCapacityUnits": int(inputs["readCapacity"]), "WriteCapacityUnits": int(inputs["writeCapacity"])}
    if inputs.get("streamEnabled"):
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": inputs["streamViewType"]}
    answer = cloud.call("dynamodb", "CreateTable", request)
    if (expiry := inputs.get("ttl", {})).get("enabled"):
        cloud.call(
            "dynamodb",
            "UpdateTimeToLive",
            {"TableName": inputs["name"], "TimeToLiveSpecification": {"Enabled": True, "AttributeName": expiry["attributeName"]}},
        )
    for replica in inputs.get("replicas", []):
        change = {"Create": {"RegionName": replica["regionName"], "KMSMasterKeyId": replica["kmsKeyArn"]}}
        cloud.call("dynamodb", "UpdateTable", {"TableName": inputs["name"], "ReplicaUpdates": [change]})
    if inputs.get("pointInTimeRecovery", {}).get("enabled"):
        cloud.call(
            "dynamodb", "UpdateContinuousBackups", {"TableName": inputs["name"], "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
        )
    return inputs["name"], {"arn": answer["TableDescription"]["TableArn"]}


def _bucket(cloud: Cloud, inputs: Inputs) -> Made:
    # us-east-1 is the one region that must not be named as a location constraint.
    location = {} if cloud.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    name = inputs["bucket"]
    cloud.call("s3", "CreateBucket", {"Bucket": name, "ObjectLockEnabledForBucket": inputs.get("objectLockEnabled", False), **location})
    if tags := inputs.get("tags"):
        cloud.call("s3", "PutBucketTagging", {"Bucket": name, "Tagging": {"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}})
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
    if "source" in inputs:
        return _zipped(inputs["source"])
    return base64.b64decode(inputs["contentBase64"]) if "contentBase64" in inputs else str(inputs["content"]).encode()


def _zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            archive.write(file, name)
    return buffer.getvalue()


def _lifecycle(cloud: Cloud, inputs: Inputs) -> Made:
    rules = []
    for rule in inputs["rules"]:
        rendered: dict[str, Any] = {"ID": rule["id"], "Status": rule["status"], "Filter": {"Prefix": rule.get("filter", {}).get("prefix", "")}}
        if old := rule.get("noncurrentVersionExpiration"):
            rendered["NoncurrentVersionExpiration"] = {"NoncurrentDays": int(old["noncurrentDays"])}
        if parts := rule.get("abortIncompleteMultipartUpload"):
            rendered["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": int(parts["daysAfterInitiation"])}
        if moves := rule.get("transitions"):
            rendered["Transitions"] = [{"Days": int(move["days"]), "StorageClass": move["storageClass"]} for move in moves]
        if end := rule.get("expiration"):
            rendered["Expiration"] = {"Days": int(end["days"])}
        rules.append(rendered)
    cloud.call("s3", "PutBucketLifecycleConfiguration", {"Bucket": inputs["bucket"], "LifecycleConfiguration": {"Rules": rules}})
    return inputs["bucket"], {}


def _replica_key(cloud: Cloud, inputs: Inputs) -> Made:
    """Asked for in the primary's region, which its ARN names."""
    _, _, _, home, _, key = inputs["primaryKeyArn"].split(":")
    answer = cloud.at(home).call("kms", "ReplicateKey", {"KeyId": key.removeprefix("key/"), "ReplicaRegion": cloud.region})
    metadata = answer["ReplicaKeyMetadata"]
    return metadata["KeyId"], {"arn": metadata["Arn"], "keyId": metadata["KeyId"]}


def _object_lock(cloud: Cloud, inputs: Inputs) -> Made:
    retention = inputs["rule"]["defaultRetention"]
    rule = {"DefaultRetention": {"Mode": retention["mode"], "Days": int(retention["days"])}}
    cloud.call("s3", "PutObjectLockConfiguration", {"Bucket": inputs["bucket"], "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": rule}})
    return inputs["bucket"], {}


def _parameter_group(cloud: Cloud, inputs: Inputs) -> Made:
    answer = cloud.call(
        "rds",
        "CreateDBParameterGroup",
        {"DBParameterGroupName": inputs["name"], "DBParameterGroupFamily": inputs["family"], "Description": inputs.get("description", "Managed by Pulumi")},
    )
    parameters = [
        {"ParameterName": item["name"], "ParameterValue": item["value"], "ApplyMethod": item.get("applyMethod", "immediate")} for item in inputs["parameters"]
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
    return {"masterUserSecrets": [{"secretArn": secret["SecretArn"], "secretStatus": secret["SecretStatus"], "kmsKeyId": secret.get("KmsKeyId", "")}]}


def _new_schema_version(cloud: Cloud, inputs: Inputs, schema: str) -> None:
    """A changed contract is a further version of its schema; the registry refuses one that its compatibility mode forbids."""
    cloud.call("glue", "RegisterSchemaVersion", {"SchemaId": {"SchemaArn": schema}, "SchemaDefinition": inputs["schemaDefinition"]})


RULES: dict[str, Rule] = {
    "aws:kms/key:Key": Rule(
        "kms", "CreateKey",
        rename={"enableKeyRotation": None, "deletionWindowInDays": None},
        id="{answer[KeyMetadata][KeyId]}",
        outputs={"arn": "{answer[KeyMetadata][Arn]}", "keyId": "{answer[KeyMetadata][KeyId]}"},
        then=_rotate,
        delete=("ScheduleKeyDeletion", {"KeyId": "{id}"}),
    ),
    "aws:kms/alias:Alias": Rule(
        "kms", "CreateAlias", rename={"name": "AliasName"}, id="{inputs[name]}", delete=("DeleteAlias", {"AliasName": "{id}"}), replaceable=True
    ),
    "aws:s3/bucket:Bucket": Rule("s3", make=_bucket, delete=("DeleteBucket", {"Bucket": "{id}"})),
    "aws:s3/bucketObjectv2:BucketObjectv2": Rule("s3", make=_object, idempotent=True),
    "aws:s3/bucketVersioning:BucketVersioning": Rule("s3", "PutBucketVersioning", id="{inputs[bucket]}", idempotent=True),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Rule(
        "s3", "PutBucketEncryption", rename={"rules": "ServerSideEncryptionConfiguration.Rules"}, id="{inputs[bucket]}", idempotent=True
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Rule(
        "s3", "PutPublicAccessBlock",
        rename={key: f"PublicAccessBlockConfiguration.{key}" for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")},
        id="{inputs[bucket]}",
        idempotent=True,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Rule("s3", "PutBucketPolicy", id="{inputs[bucket]}", idempotent=True),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Rule("s3", make=_lifecycle, idempotent=True),
    "aws:secretsmanager/secret:Secret": Rule(
        "secretsmanager", "CreateSecret",
        rename={"recoveryWindowInDays": None},
        id="{answer[ARN]}",
        outputs={"arn": "{answer[ARN]}"},
        delete=("DeleteSecret", {"SecretId": "{id}"}),
    ),
    "aws:glue/registry:Registry": Rule(
        "glue", "CreateRegistry", id="{answer[RegistryArn]}", outputs={"arn": "{answer[RegistryArn]}"}, delete=("DeleteRegistry", {"RegistryId": "{id}"})
    ),
    "aws:glue/schema:Schema": Rule(
        "glue", "CreateSchema",
        rename={"registryArn": "RegistryId.RegistryArn"},
        id="{answer[SchemaArn]}",
        outputs={"arn": "{answer[SchemaArn]}", "registryName": "{answer[RegistryName]}"},
        update={"schemaDefinition": _new_schema_version, "description": lambda cloud, inputs, schema: None},
    ),
    "aws:dynamodb/table:Table": Rule("dynamodb", make=_table, delete=("DeleteTable", {"TableName": "{id}"})),
    "aws:rds/subnetGroup:SubnetGroup": Rule(
        "rds", "CreateDBSubnetGroup",
        rename={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[DBSubnetGroup][DBSubnetGroupArn]}"},
        delete=("DeleteDBSubnetGroup", {"DBSubnetGroupName": "{id}"}),
    ),
    "aws:rds/instance:Instance": Rule(
        "rds", "CreateDBInstance",
        rename={
            "backupWindow": "PreferredBackupWindow", "maintenanceWindow": "PreferredMaintenanceWindow",
            "identifier": "DBInstanceIdentifier", "instanceClass": "DBInstanceClass", "username": "MasterUsername", "skipFinalSnapshot": None,
            "finalSnapshotIdentifier": None, "applyImmediately": None, "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication", "parameterGroupName": "DBParameterGroupName",
            "performanceInsightsEnabled": "EnablePerformanceInsights", "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
        },
        id="{inputs[identifier]}",
        outputs={
            "arn": "{answer[DBInstance][DBInstanceArn]}",
            "endpoint": "{answer[DBInstance][Endpoint][Address]}:{answer[DBInstance][Endpoint][Port]}",
            "address": "{answer[DBInstance][Endpoint][Address]}",
        },
        more=_database_secret,
        delete=("DeleteDBInstance", {"DBInstanceIdentifier": "{id}"}),
    ),
    "aws:kms/replicaKey:ReplicaKey": Rule("kms", make=_replica_key),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": Rule("s3", make=_object_lock, idempotent=True),
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": Rule(
        "s3", "PutBucketReplication",
        rename={"role": "ReplicationConfiguration.role", "rules": "ReplicationConfiguration.rules"},
        id="{inputs[bucket]}",
        idempotent=True,
    ),
    "aws:rds/parameterGroup:ParameterGroup": Rule("rds", make=_parameter_group, delete=("DeleteDBParameterGroup", {"DBParameterGroupName": "{id}"})),
    "aws:glue/catalogDatabase:CatalogDatabase": Rule(
        "glue", "CreateDatabase",
        rename={"name": "DatabaseInput.name", "description": "DatabaseInput.description"},
        id="{account}:{inputs[name]}",
        outputs={"arn": "arn:aws:glue:{region}:{account}:database/{inputs[name]}"},
        delete=("DeleteDatabase", {"Name": "{inputs[name]}"}),
        replaceable=True,
    ),
    "aws:glue/catalogTable:CatalogTable": Rule(
        "glue", "CreateTable",
        rename={key: f"TableInput.{key}" for key in ("name", "description", "tableType", "parameters", "storageDescriptor", "partitionKeys")},
        id="{account}:{inputs[databaseName]}:{inputs[name]}",
        delete=("DeleteTable", {"DatabaseName": "{inputs[databaseName]}", "Name": "{inputs[name]}"}),
        replaceable=True,
    ),
    "aws:athena/workgroup:Workgroup": Rule("athena", make=_workgroup, delete=("DeleteWorkGroup", {"WorkGroup": "{id}"}), replaceable=True),
    "aws:secretsmanager/secretRotation:SecretRotation": Rule(
        "secretsmanager", "RotateSecret",
        rename={"rotationRules": "RotationRules"},
        id="{inputs[secretId]}",
        idempotent=True,
    ),
}  # fmt: skip
