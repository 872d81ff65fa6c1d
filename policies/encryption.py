"""Encryption at rest, with the company's own keys, and in transit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policies.control import BUCKET, Family, at, given, listed
from policies.documents import policy_of, refuses
from policies.iam.documents import UNKNOWN
from policies.iam.matching import all_of, any_of
from policies.stack import Item, Props, Stack

REST = Family("encryption at rest", ("GDPR 32(1)(a)", "HIPAA 164.312(a)(2)(iv)", "SOC 2 CC6.1"))
TRANSIT = Family("encryption in transit", ("GDPR 32(1)(a)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.7"))
LOCAL_NVME = (
    "ml.g4dn.",
    "ml.g5.",
    "ml.g6.",
    "ml.p4d.",
    "ml.p5.",
)  # encrypted in hardware; SageMaker refuses a key for them
LEAST_DELETION_DAYS = 7
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
_DEFAULT_TLS = "ELBSecurityPolicy-2016-08"  # of a listener made by the API that names none
_TLS_12 = re.compile(r"-(TLS13-1-[23]|TLS-1-2|FS-1-2)-")


def _copied(props: Props) -> bool:
    """Whether it is a replica, or restored from a snapshot: its encryption is its source's."""
    return (
        given(props, "replicateSourceDb")
        or given(props, "replicationSourceIdentifier")
        or given(props, "snapshotIdentifier")
    )


REST.setting(
    "kms-key-rotates",
    "KMS keys rotate every year",
    "aws:kms/key:Key",
    "enableKeyRotation",
    True,
    severity="high",
    risk="The same key protects ever more data for years; if it were broken, all of it could be read",
    rules=("CIS AWS 4.6",),
    url="https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html",
    applies=lambda props: at(props, "keyUsage") in (None, "ENCRYPT_DECRYPT"),  # KMS does not rotate signing keys
)
REST.setting(
    "rds-encrypted",
    "Databases are encrypted",
    "aws:rds/instance:Instance",
    "storageEncrypted",
    True,
    severity="critical",
    risk="Whoever obtains a snapshot or a disk of the database can read the data",
    rules=("CIS AWS 3.2.1", "FSBP RDS.3"),
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.html",
    applies=lambda props: not _copied(props),
)
REST.setting(
    "rds-cluster-encrypted",
    "Database clusters are encrypted",
    "aws:rds/cluster:Cluster",
    "storageEncrypted",
    True,
    severity="critical",
    risk="Whoever obtains a snapshot or a disk can read the data, and encryption can't be switched on later",
    rules=("FSBP RDS.27",),
    url="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Overview.Encryption.html",
    applies=lambda props: not _copied(props) and props.get("engineMode") != "serverless",
)
REST.setting(
    "efs-encrypted",
    "File systems are encrypted",
    "aws:efs/fileSystem:FileSystem",
    "encrypted",
    True,
    severity="critical",
    risk="Files can be read by whoever gets hold of the disks, and encryption can't be switched on later",
    rules=("CIS AWS 3.3.1", "FSBP EFS.1", "FSBP EFS.8"),
    url="https://docs.aws.amazon.com/efs/latest/ug/encryption-at-rest.html",
)
REST.setting(
    "redshift-encrypted",
    "Warehouses are encrypted",
    "aws:redshift/cluster:Cluster",
    "encrypted",
    True,
    absent=True,  # since version 7 of the provider, and by AWS itself since 2025
    severity="critical",
    risk="Whoever obtains a snapshot or a disk of the warehouse can read everything collected in it",
    rules=("FSBP Redshift.10",),
    url="https://docs.aws.amazon.com/redshift/latest/mgmt/working-with-db-encryption.html",
)
REST.setting(
    "cache-encrypted",
    "Caches are encrypted",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "atRestEncryptionEnabled",
    True,
    severity="high",
    risk="Personal data and sessions held in the cache can be read from its disks and backups",
    rules=("FSBP ElastiCache.4",),
    url="https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/at-rest-encryption.html",
    applies=lambda props: props.get("engine") != "valkey" or given(props, "atRestEncryptionEnabled"),
)
REST.present(
    "sns-encrypted",
    "Message topics are encrypted",
    "aws:sns/topic:Topic",
    path="kmsMasterKeyId",
    severity="medium",
    fix="Set kms_master_key_id.",
    risk="Access to messages that wait for delivery can't be limited, recorded or cut off by means of a key",
    url="https://docs.aws.amazon.com/sns/latest/dg/sns-server-side-encryption.html",
)
REST.present(
    "secret-own-key",
    "Secrets are encrypted with a key of the stack",
    "aws:secretsmanager/secret:Secret",
    path="kmsKeyId",
    severity="high",
    fix="Set kms_key_id.",
    risk="Whoever may read the secret needs no second permission, and no key can be withdrawn to stop it",
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html",
)
REST.present(
    "logs-own-key",
    "Log groups are encrypted with a key of the stack",
    "aws:cloudwatch/logGroup:LogGroup",
    path="kmsKeyId",
    severity="medium",
    fix="Set kms_key_id; the key's policy must let CloudWatch Logs use it.",
    risk="Access to the logs, which may hold personal data, can't be cut off by withdrawing a key",
    url="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html",
)
REST.present(
    "eks-secrets-encrypted",
    "Kubernetes secrets are encrypted with a key of the stack",
    "aws:eks/cluster:Cluster",
    path="encryptionConfig",
    severity="high",
    rules=("CIS EKS 5.3.1", "FSBP EKS.3"),
    fix="Set encryption_config with a KMS key for secrets.",
    risk="The company can neither withdraw the key to passwords kept in the cluster nor see when it is used",
    url="https://docs.aws.amazon.com/eks/latest/userguide/enable-kms.html",
)
REST.present(
    "msk-own-key",
    "Kafka's volumes are encrypted with a key of the stack",
    "aws:msk/cluster:Cluster",
    path="encryptionInfo.encryptionAtRestKmsKeyArn",
    severity="high",
    fix="Set encryption_info.encryption_at_rest_kms_key_arn.",
    risk="In an emergency the stored messages can't be made unreadable by withdrawing a key",
    url="https://docs.aws.amazon.com/msk/latest/developerguide/msk-encryption.html",
)
REST.present(
    "backups-own-key",
    "Backups are encrypted with a key of the stack",
    "aws:backup/vault:Vault",
    path="kmsKeyArn",
    severity="high",
    fix="Set kms_key_arn.",
    risk="Access to the backups can't be limited to a few people, or cut off, by controlling their key",
    url="https://docs.aws.amazon.com/aws-backup/latest/devguide/encryption.html",
)
REST.present(
    "studio-own-key",
    "Studio's file system is encrypted with a key of the stack",
    "aws:sagemaker/domain:Domain",
    path="kmsKeyId",
    severity="high",
    fix="Set kms_key_id.",
    risk="Notebooks and data that people keep in the studio can't be locked away by withdrawing a key",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/encryption-at-rest-studio.html",
)
REST.present(
    "notebook-own-key",
    "Notebooks' volumes are encrypted with a key of the stack",
    "aws:sagemaker/notebookInstance:NotebookInstance",
    path="kmsKeyId",
    severity="high",
    fix="Set kms_key_id.",
    risk="Data that was copied to a notebook's disk can't be locked away by withdrawing a key",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/encryption-at-rest-nbi.html",
)
REST.present(
    "metrics-own-key",
    "Metrics are encrypted with a key of the stack",
    "aws:amp/workspace:Workspace",
    path="kmsKeyArn",
    severity="medium",
    fix="Set kms_key_arn.",
    risk="Measurements of systems and business can't be made unreadable by withdrawing a key",
    url="https://docs.aws.amazon.com/prometheus/latest/userguide/encryption-at-rest-Amazon-Service-Prometheus.html",
)


@REST.resource(
    "kms-deletion-can-be-undone",
    "A deleted key can be restored for at least a week",
    "aws:kms/key:Key",
    "aws:kms/replicaKey:ReplicaKey",
    severity="medium",
    law=("GDPR 32(1)(c)", "SOC 2 A1.2"),
    fix=f"Set deletion_window_in_days to {LEAST_DELETION_DAYS} or more (up to 30).",
    risk="A key deleted by mistake or in malice is gone for good, and with it all data that it encrypted",
    url="https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html",
)
def key_deletion(props: Props) -> Iterator[str]:
    """Without its key, the data is lost."""
    days = props.get("deletionWindowInDays")
    if days is not None and days < LEAST_DELETION_DAYS:
        yield f"The key is lost {days:g} days after its deletion"


@REST.resource(
    "s3-encrypted-with-own-key",
    "Buckets encrypt with a key of the stack",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    severity="high",
    fix="Use sse_algorithm aws:kms with a key of the stack.",
    risk="Whoever may read the bucket can read everything in it; no key can be withheld or withdrawn",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html",
)
def bucket_encrypted(props: Props) -> Iterator[str]:
    """Every rule names aws:kms and a key."""
    for rule in listed(props.get("rules")):
        default = rule.get("applyServerSideEncryptionByDefault") or {}
        if default.get("sseAlgorithm") not in ("aws:kms", "aws:kms:dsse"):
            yield f"Objects are encrypted with {default.get('sseAlgorithm')!r}, not with KMS"
        elif not given(default, "kmsMasterKeyId"):
            yield "Objects are encrypted with AWS's key, which can't be revoked"


@REST.each(
    "s3-key-named",
    "Every bucket names the key that encrypts it",
    BUCKET,
    beside=("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",),
    severity="high",
    fix="Create a BucketServerSideEncryptionConfiguration for it.",
    risk="AWS's own key encrypts the data, and the company can neither withdraw it nor see when it is used",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html",
)
def bucket_names_key(bucket: Item, stack: Stack) -> Iterator[str]:
    """A configuration of its own, or one inside of the bucket."""
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    inside = ("serverSideEncryptionConfiguration", "serverSideEncryptionConfigurations")
    if not stack.companions(bucket, kind, "bucket") and not any(given(bucket.props, key) for key in inside):
        yield "The bucket is encrypted with AWS's key, which can't be withdrawn"


@REST.resource(
    "dynamodb-encrypted-with-own-key",
    "Tables encrypt with a key of the stack",
    "aws:dynamodb/table:Table",
    severity="high",
    fix="Set server_side_encryption with enabled and a kms_key_arn.",
    risk="The company can neither withdraw the key to the table's records nor see when it is used",
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/EncryptionAtRest.html",
)
def table_encrypted(props: Props) -> Iterator[str]:
    """A key of the stack encrypts the table."""
    encryption = props.get("serverSideEncryption") or {}
    if not encryption.get("enabled") or not given(encryption, "kmsKeyArn"):
        yield "The table is encrypted with a key that AWS owns"


def _by_default(item: Item, stack: Stack) -> bool:
    """Whether the account encrypts every new disk of the region, whatever a program says of it."""
    return any(
        found.props.get("enabled", True) is True
        for found in stack.beside(item, "aws:ebs/encryptionByDefault:EncryptionByDefault")
    )


@REST.each(
    "ebs-volume-encrypted",
    "Volumes are encrypted",
    "aws:ebs/volume:Volume",
    beside=("aws:ebs/encryptionByDefault:EncryptionByDefault",),
    severity="critical",
    fix="Set encrypted to True.",
    risk="Whoever obtains a snapshot or a disk can read the data on it",
    rules=("FSBP EC2.3",),
    url="https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption.html",
)
def volume_encrypted(volume: Item, stack: Stack) -> Iterator[str]:
    """Its own setting, or the account's."""
    if volume.props.get("encrypted") is not True and not _by_default(volume, stack):
        yield "The volume is not set to be encrypted"


@REST.each(
    "instance-volumes-encrypted",
    "Volumes of instances are encrypted",
    "aws:ec2/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/launchConfiguration:LaunchConfiguration",
    beside=("aws:ebs/encryptionByDefault:EncryptionByDefault",),
    severity="critical",
    rules=("FSBP EC2.3", "FSBP EC2.181"),
    fix="Set encrypted on every block device.",
    risk="Whoever obtains a snapshot or a disk of the machine can read the data and passwords on it",
    url="https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption.html",
)
def volumes_encrypted(machine: Item, stack: Stack) -> Iterator[str]:
    """Set on root and further devices, or the account's default."""
    props = machine.props
    if _by_default(machine, stack):
        return
    devices = [*listed(props.get("rootBlockDevice")), *listed(props.get("ebsBlockDevices"))]
    devices += [mapping["ebs"] for mapping in listed(props.get("blockDeviceMappings")) if given(mapping, "ebs")]
    templates = stack.about(machine, "launchTemplate", "aws:ec2/launchTemplate:LaunchTemplate")
    if machine.type.startswith("aws:ec2/launchTemplate:"):
        root = devices
    else:
        root = listed(props.get("rootBlockDevice"))
        root += [mapping for item in templates for mapping in listed(item.props.get("blockDeviceMappings"))]
    whole = machine.type.startswith("aws:ec2/launchConfiguration:") or given(props, "ami") or given(props, "imageId")
    if whole and not root:
        yield "The root volume is not set to be encrypted"
    for device in devices:
        if device.get("encrypted") not in (True, "true"):
            yield "A volume is not encrypted"


@REST.resource(
    "sqs-encrypted",
    "Queues are encrypted",
    "aws:sqs/queue:Queue",
    severity="medium",
    rules=("FSBP SQS.1",),
    fix="Set kms_master_key_id, or omit sqs_managed_sse_enabled.",
    risk="Messages that wait in the queue can be read by whoever gets at the disks they lie on",
    url="https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-server-side-encryption.html",
)
def queue_encrypted(props: Props) -> Iterator[str]:
    """With a key, or with SQS's own, which new queues have unless it is switched off."""
    if not given(props, "kmsMasterKeyId") and props.get("sqsManagedSseEnabled") is False:
        yield "Messages are stored unencrypted"


@REST.resource(
    "ecr-own-key",
    "Images are encrypted with a key of the stack",
    "aws:ecr/repository:Repository",
    severity="medium",
    fix="Set encryption_configurations of type KMS with a key.",
    risk="Software and models in the images can't be locked away by withdrawing a key in an emergency",
    url="https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html",
)
def images_encrypted(props: Props) -> Iterator[str]:
    """KMS, and a key."""
    configured = listed(props.get("encryptionConfigurations"))
    if not configured or configured[0].get("encryptionType") != "KMS" or not given(configured[0], "kmsKey"):
        yield "Images are encrypted with a key that AWS owns"


@REST.resource(
    "endpoint-own-key",
    "Endpoints' volumes are encrypted with a key of the stack",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
    severity="high",
    fix="Set kms_key_arn; instances with local NVMe are encrypted in hardware and accept no key.",
    risk="Models and requests stored on the endpoint's disks can't be locked away by withdrawing a key",
    url="https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html",
)
def endpoint_encrypted(props: Props) -> Iterator[str]:
    """Every instance type that accepts a key has one."""
    types = [variant.get("instanceType") or "" for variant in listed(props.get("productionVariants"))]
    if not given(props, "kmsKeyArn") and any(kind and not kind.startswith(LOCAL_NVME) for kind in types):
        yield "The endpoint's volumes are encrypted with a key that AWS owns"


@REST.resource(
    "athena-results-encrypted",
    "Results of queries are encrypted",
    "aws:athena/workgroup:Workgroup",
    severity="high",
    fix="Set configuration.result_configuration.encryption_configuration, and enforce the workgroup's configuration.",
    risk="Whoever may read the storage can read results of queries, which often hold personal data",
    url="https://docs.aws.amazon.com/athena/latest/ug/encrypting-query-results-stored-in-s3.html",
)
def results_encrypted(props: Props) -> Iterator[str]:
    """The workgroup decides, not the client."""
    if at(props, "configuration.resultConfiguration.encryptionConfiguration.encryptionOption") not in (
        "SSE_KMS",
        "CSE_KMS",
    ):
        yield "Results are not encrypted with KMS"
    if at(props, "configuration.enforceWorkgroupConfiguration") is False:
        yield "A client may choose to leave its results unencrypted"


@REST.resource(
    "feature-store-encrypted",
    "Feature Groups are encrypted with a key of the stack",
    "aws:sagemaker/featureGroup:FeatureGroup",
    severity="high",
    fix="Give a KMS key for the online and the offline store.",
    risk="The data that models learn from, often about persons, can't be locked away by withdrawing a key",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-security.html",
)
def features_encrypted(props: Props) -> Iterator[str]:
    """Both stores, if both exist."""
    for store, path in (
        ("onlineStoreConfig", "onlineStoreConfig.securityConfig"),
        ("offlineStoreConfig", "offlineStoreConfig.s3StorageConfig"),
    ):
        if given(props, store) and not given(at(props, path), "kmsKeyId"):
            yield f"{store} has no key"


@TRANSIT.resource(
    "msk-tls-only",
    "Kafka accepts TLS only",
    "aws:msk/cluster:Cluster",
    severity="critical",
    rules=("FSBP MSK.1",),
    fix="Set encryption_in_transit to client_broker TLS and in_cluster True.",
    risk="Messages can be read and altered by whoever gets into the network between clients and brokers",
    url="https://docs.aws.amazon.com/msk/latest/developerguide/msk-encryption.html",
)
def kafka_tls(props: Props) -> Iterator[str]:
    """Clients and brokers use TLS."""
    transit = at(props, "encryptionInfo.encryptionInTransit") or {}
    if transit.get("clientBroker", "TLS") != "TLS":
        yield "Kafka accepts unencrypted connections"
    if transit.get("inCluster", True) is False:
        yield "Brokers exchange data unencrypted"


@TRANSIT.resource(
    "listener-tls",
    "Load balancers listen with TLS",
    "aws:lb/listener:Listener",
    severity="high",
    rules=("FSBP ELB.1", "FSBP ELB.17"),
    fix="Use HTTPS or TLS with ssl_policy ELBSecurityPolicy-TLS13-1-2-2021-06; a listener on HTTP may redirect to it.",
    risk="Passwords and personal data can be read or altered on their way between users and the service",
    url="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/create-https-listener.html",
)
def listener_tls(props: Props) -> Iterator[str]:
    """HTTP only redirects to HTTPS, and TLS is at least 1.2. TCP is passed on as it is: what it carries is the target's
    matter.
    """
    protocol = props.get("protocol", "HTTP" if given(props, "port") else "")
    if protocol == "HTTP" and not all(map(_to_https, listed(props.get("defaultActions")))):
        yield "It listens on HTTP"
    policy = props.get("sslPolicy") or _DEFAULT_TLS
    if protocol in ("HTTPS", "TLS") and not _TLS_12.search(str(policy)):
        yield f"Its security policy {policy} accepts TLS older than 1.2"


@TRANSIT.each(
    "listener-rule-tls",
    "Rules of load balancers pass on nothing that came by plain HTTP",
    "aws:lb/listenerRule:ListenerRule",
    beside=("aws:lb/listener:Listener",),
    severity="high",
    rules=("FSBP ELB.1",),
    fix="Attach the rule to a listener with HTTPS; that with HTTP redirects to it.",
    risk="Passwords and personal data can be read or altered on their way between users and the service",
    url="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/create-https-listener.html",
)
def listener_rule_tls(item: Item, stack: Stack) -> Iterator[str]:
    """A rule comes before what its listener does by default, which may be to redirect."""
    if not any(action.get("type") == "forward" for action in listed(item.props.get("actions"))):
        return
    for listener in stack.about(item, "listenerArn", "aws:lb/listener:Listener"):
        if listener.props.get("protocol") == "HTTP":
            yield f"It forwards what comes to the listener {listener.name} by HTTP"


def _to_https(action: Props) -> bool:
    return action.get("type") == "redirect" and at(action, "redirect.protocol") == "HTTPS"


@TRANSIT.resource(
    "cdn-https",
    "CloudFront serves HTTPS only",
    "aws:cloudfront/distribution:Distribution",
    severity="high",
    rules=("FSBP CloudFront.3",),
    fix="Set viewer_protocol_policy to redirect-to-https or https-only.",
    risk="What visitors send and receive, passwords included, can be read or altered on the way",
    url="https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-https-viewers-to-cloudfront.html",
)
def cdn_https(props: Props) -> Iterator[str]:
    """Every behaviour."""
    for behaviour in [*listed(props.get("defaultCacheBehavior")), *listed(props.get("orderedCacheBehaviors"))]:
        if behaviour.get("viewerProtocolPolicy") == "allow-all":
            yield "Viewers may use plain HTTP"


@TRANSIT.resource(
    "cache-tls",
    "Caches accept TLS only",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "aws:elasticache/cluster:Cluster",
    severity="high",
    rules=("FSBP ElastiCache.5",),
    fix="Set transit_encryption_enabled to True, and transit_encryption_mode to required.",
    risk="Whoever gets into the network can read and alter what programs keep in the cache",
    url="https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/in-transit-encryption.html",
)
def cache_tls(props: Props) -> Iterator[str]:
    """Clients use TLS; in the preferred mode they may."""
    if given(props, "replicationGroupId"):
        return  # a member of a group, which has the setting
    default = props.get("engine") == "valkey"  # the only engine that has it by itself
    if props.get("transitEncryptionEnabled", default) is not True or props.get("transitEncryptionMode") == "preferred":
        yield "Clients may connect without TLS"


@TRANSIT.resource(
    "postgres-forces-tls",
    "PostgreSQL accepts TLS only",
    "aws:rds/parameterGroup:ParameterGroup",
    "aws:rds/clusterParameterGroup:ClusterParameterGroup",
    severity="high",
    fix="Set the parameter rds.force_ssl to 1.",
    risk="Personal data can be read by whoever listens on the network between programs and the database",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.SSL.html",
)
def postgres_tls(props: Props) -> Iterator[str]:
    """From version 15 on, of Aurora from 17 on, it is AWS's default."""
    family = re.fullmatch(r"(aurora-)?postgres(?:ql)?(\d+).*", str(props.get("family", "")))
    if family is None:
        return
    values = {parameter.get("name"): parameter.get("value") for parameter in listed(props.get("parameters"))}
    default = "1" if int(family[2]) >= (17 if family[1] else 15) else "0"
    if str(values.get("rds.force_ssl", default)) != "1":
        yield "Clients may connect without TLS"


@TRANSIT.each(
    "s3-tls-only",
    "Buckets refuse requests without TLS",
    BUCKET,
    beside=("aws:s3/bucketPolicy:BucketPolicy",),
    severity="high",
    rules=("CIS AWS 3.1.1", "FSBP S3.5"),
    fix="Give the bucket a policy that denies s3:* where aws:SecureTransport is false.",
    risk="Files can be read or altered on their way by whoever listens on a network in between",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html",
)
def bucket_tls(bucket: Item, stack: Stack) -> Iterator[str]:
    """A policy of the bucket, or one inside of it, that refuses anybody's plain request for it and for its objects."""
    documents = [item.props for item in stack.companions(bucket, "aws:s3/bucketPolicy:BucketPolicy", "bucket")]
    documents += [bucket.props] if given(bucket.props, "policy") else []
    try:
        name = str(bucket.props["bucket"]) if given(bucket.props, "bucket") else UNKNOWN
    except UnknownValueError:
        name = UNKNOWN
    refused = any_of(_refuses_plain(props, f"arn:aws:s3:::{name}") for props in documents)
    if refused is None:
        raise UnknownValueError(UNKNOWN_STRING_VALUE, ["policy"])
    if not refused:
        yield "Nothing refuses requests without TLS"


def _refuses_plain(props: Props, arn: str) -> bool | None:
    try:
        policy = policy_of(props)
    except UnknownValueError:
        return None
    of_bucket, of_objects = ("ListBucket", "PutBucketTagging"), ("GetObject", "PutObject", "DeleteObject")
    asked = [*((action, arn) for action in of_bucket), *((action, f"{arn}/x") for action in of_objects)]
    return all_of(
        refuses(policy, f"s3:{action}", resource, {"aws:SecureTransport": "false"}) for action, resource in asked
    )
