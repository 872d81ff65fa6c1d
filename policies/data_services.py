"""Data services besides buckets, tables and relational databases: search, streams, warehouses, documents, caches, jobs
that move data, foundation models; and copies of data that are shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from policies.control import Family, at, given, listed
from policies.laws import BACKUP, LOGGING, NETWORK, REST, TRANSIT
from policies.secret_forms import looks_secret
from policies.stack import Item, Props, Stack

DATA = Family("data services", ("GDPR 32(1)(b)", "HIPAA 164.312(a)(1)", "SOC 2 CC6.1"))
_SEARCH = ("aws:opensearch/domain:Domain", "aws:elasticsearch/domain:Domain")
_CLUSTERS = ("aws:docdb/cluster:Cluster", "aws:neptune/cluster:Cluster")
_OPENSEARCH = "https://docs.aws.amazon.com/opensearch-service/latest/developerguide"
_DOCDB = "https://docs.aws.amazon.com/documentdb/latest/developerguide"
LEAST_BACKUP_DAYS = 7


@DATA.resource(
    "search-encrypted",
    "Search domains are encrypted",
    *_SEARCH,
    severity="high",
    fix="Set encrypt_at_rest.enabled to True.",
    risk="Whoever obtains a disk or a snapshot can read what was indexed",
    law=REST,
    rules=("FSBP Opensearch.1", "FSBP ES.1"),
    url=f"{_OPENSEARCH}/encryption-at-rest.html",
)
def search_encrypted(props: Props) -> Iterator[str]:
    """At rest."""
    if at(props, "encryptAtRest.enabled") is not True:
        yield "Its indexes are stored unencrypted"


@DATA.resource(
    "search-private",
    "Search domains are in a VPC",
    *_SEARCH,
    severity="high",
    fix="Set vpc_options with subnets and a security group.",
    risk="The domain can be reached from the internet, and one mistake in its policy opens the data to everyone",
    law=NETWORK,
    rules=("FSBP Opensearch.2", "FSBP ES.2"),
    url=f"{_OPENSEARCH}/vpc.html",
)
def search_private(props: Props) -> Iterator[str]:
    """In a VPC."""
    if not given(props, "vpcOptions"):
        yield "Its address is on the internet"


@DATA.resource(
    "search-tls",
    "Search domains speak TLS, also among their nodes",
    *_SEARCH,
    severity="medium",
    fix="Set node_to_node_encryption.enabled, and domain_endpoint_options with enforce_https and"
    " tls_security_policy Policy-Min-TLS-1-2-PFS-2023-10.",
    risk="Queries and answers can be read on their way",
    law=TRANSIT,
    rules=("FSBP Opensearch.3", "FSBP Opensearch.8", "FSBP ES.3", "FSBP ES.8"),
    url=f"{_OPENSEARCH}/ntn.html",
)
def search_tls(props: Props) -> Iterator[str]:
    """HTTPS of at least 1.2 for clients, and TLS between nodes."""
    if at(props, "nodeToNodeEncryption.enabled") is not True:
        yield "Its nodes talk to each other without TLS"
    endpoint = at(props, "domainEndpointOptions") or {}
    if endpoint.get("enforceHttps") is not True:
        yield "Clients may connect without TLS"
    elif "TLS-1-2" not in str(endpoint.get("tlsSecurityPolicy") or "Policy-Min-TLS-1-0-2019-07"):
        yield "It accepts TLS 1.0"


@DATA.resource(
    "search-audited",
    "Search domains log who read what",
    *_SEARCH,
    severity="medium",
    fix="Set log_publishing_options with log_type AUDIT_LOGS.",
    risk="A theft of data leaves no trace",
    law=LOGGING,
    rules=("FSBP Opensearch.5", "FSBP ES.5"),
    url=f"{_OPENSEARCH}/audit-logs.html",
)
def search_audited(props: Props) -> Iterator[str]:
    """Audit logs are published."""
    for log in listed(props.get("logPublishingOptions")):
        if log.get("logType") == "AUDIT_LOGS" and log.get("enabled", True) is not False:
            return
    yield "It keeps no audit log"


@DATA.resource(
    "stream-encrypted",
    "Kinesis streams are encrypted",
    "aws:kinesis/stream:Stream",
    severity="medium",
    fix="Set encryption_type to KMS, and kms_key_id.",
    risk="Records lie unencrypted in the stream",
    law=REST,
    rules=("FSBP Kinesis.1",),
    url="https://docs.aws.amazon.com/streams/latest/dev/server-side-encryption.html",
)
def stream_encrypted(props: Props) -> Iterator[str]:
    """By KMS."""
    if props.get("encryptionType") != "KMS":
        yield "Its records are stored unencrypted"


@DATA.resource(
    "delivery-encrypted",
    "Firehose streams are encrypted",
    "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream",
    severity="medium",
    fix="Set server_side_encryption.enabled to True.",
    risk="Records lie unencrypted while they wait for their delivery",
    law=REST,
    rules=("FSBP DataFirehose.1",),
    url="https://docs.aws.amazon.com/firehose/latest/dev/encryption.html",
)
def delivery_encrypted(props: Props) -> Iterator[str]:
    """What comes from a Kinesis stream is encrypted there."""
    if given(props, "kinesisSourceConfiguration") or given(props, "mskSourceConfiguration"):
        return
    if at(props, "serverSideEncryption.enabled") is not True:
        yield "Its records are stored unencrypted"


@DATA.resource(
    "cluster-encrypted",
    "Document and graph databases are encrypted",
    *_CLUSTERS,
    severity="high",
    fix="Set storage_encrypted to True.",
    risk="Whoever obtains a disk or a snapshot can read the data",
    law=REST,
    rules=("FSBP DocumentDB.1", "FSBP Neptune.1"),
    url=f"{_DOCDB}/encryption-at-rest.html",
)
def cluster_encrypted(props: Props) -> Iterator[str]:
    """At rest; one made from a snapshot has the snapshot's encryption."""
    if props.get("storageEncrypted") is not True and not given(props, "snapshotIdentifier"):
        yield "The database is stored unencrypted"


@DATA.resource(
    "cluster-backed-up",
    "Document and graph databases are backed up for a week",
    *_CLUSTERS,
    severity="medium",
    fix=f"Set backup_retention_period to {LEAST_BACKUP_DAYS} or more.",
    risk="Data that is deleted by mistake and noticed late is lost",
    law=BACKUP,
    rules=("FSBP DocumentDB.2", "FSBP Neptune.5"),
    url=f"{_DOCDB}/backup_restore.html",
)
def cluster_backed_up(props: Props) -> Iterator[str]:
    """A day is the default."""
    days = props.get("backupRetentionPeriod", 1)
    if days < LEAST_BACKUP_DAYS:
        yield f"Backups are kept for {days:g} day{'' if days == 1 else 's'}"


@DATA.resource(
    "cluster-deletion-protected",
    "Production's document and graph databases can't be deleted by accident",
    *_CLUSTERS,
    severity="medium",
    production=True,
    fix="Set deletion_protection to True.",
    risk="One wrong command deletes the data",
    law=BACKUP,
    rules=("FSBP DocumentDB.5", "FSBP Neptune.4"),
    url=f"{_DOCDB}/db-cluster-delete.html",
)
def cluster_protected(props: Props) -> Iterator[str]:
    """Protected."""
    if props.get("deletionProtection") is not True:
        yield "It may be deleted at once"


@DATA.resource(
    "cluster-audited",
    "Document and graph databases publish their audit log",
    *_CLUSTERS,
    severity="medium",
    fix="Add audit to enabled_cloudwatch_logs_exports (enable_cloudwatch_logs_exports for Neptune).",
    risk="Nobody can tell who read or changed which data",
    law=LOGGING,
    rules=("FSBP DocumentDB.4", "FSBP Neptune.2"),
    url=f"{_DOCDB}/event-auditing.html",
)
def cluster_audited(props: Props) -> Iterator[str]:
    """The audit log is exported."""
    exports = [*listed(props.get("enabledCloudwatchLogsExports")), *listed(props.get("enableCloudwatchLogsExports"))]
    if "audit" not in exports:
        yield "Its audit log is not exported"


@DATA.resource(
    "accelerator-encrypted",
    "Caches of tables are encrypted",
    "aws:dax/cluster:Cluster",
    severity="medium",
    fix="Set server_side_encryption.enabled to True, and cluster_endpoint_encryption_type to TLS.",
    risk="What is cached can be read from the disk, or on its way",
    law=REST,
    rules=("FSBP DynamoDB.3", "FSBP DynamoDB.7"),
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/DAXEncryptionAtRest.html",
)
def accelerator_encrypted(props: Props) -> Iterator[str]:
    """At rest and in transit."""
    if at(props, "serverSideEncryption.enabled") is not True:
        yield "Cached items are stored unencrypted"
    if props.get("clusterEndpointEncryptionType") != "TLS":
        yield "Clients connect without TLS"


@DATA.resource(
    "copy-encrypted",
    "Copies of images and disks are encrypted",
    "aws:ec2/amiCopy:AmiCopy",
    "aws:ebs/snapshotCopy:SnapshotCopy",
    severity="high",
    fix="Set encrypted to True, and kms_key_id.",
    risk="Whoever obtains the copy can read the data on it",
    law=REST,
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/AMIEncryption.html",
)
def copy_encrypted(props: Props) -> Iterator[str]:
    """Whatever the original is."""
    if props.get("encrypted") is not True:
        yield "The copy is not set to be encrypted"


@DATA.resource(
    "memory-tls",
    "Databases in memory accept TLS only",
    "aws:memorydb/cluster:Cluster",
    severity="high",
    fix="Omit tls_enabled, or set it to True.",
    risk="What programs read and write can be read on its way",
    law=TRANSIT,
    url="https://docs.aws.amazon.com/memorydb/latest/devguide/in-transit-encryption.html",
)
def memory_tls(props: Props) -> Iterator[str]:
    """On unless it is switched off."""
    if props.get("tlsEnabled") is False:
        yield "Clients connect without TLS"


@DATA.resource(
    "copy-not-public",
    "No snapshot, image or document is shared with everybody",
    "aws:rds/snapshot:Snapshot",
    "aws:rds/snapshotCopy:SnapshotCopy",
    "aws:rds/clusterSnapshotCopy:ClusterSnapshotCopy",
    "aws:rds/clusterSnapshot:ClusterSnapshot",
    "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission",
    "aws:ec2/amiLaunchPermission:AmiLaunchPermission",
    "aws:ssm/document:Document",
    severity="critical",
    fix="Name the accounts that need it.",
    risk="Anybody with an AWS account can copy the data, the image or the script, with every secret in it",
    law=NETWORK,
    rules=("FSBP RDS.1", "FSBP EC2.1", "FSBP SSM.4"),
    url="https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-1",
)
def copy_not_public(props: Props) -> Iterator[str]:
    """Neither the group "all", nor the account "all"."""
    accounts = [*listed(props.get("sharedAccounts")), *listed(at(props, "permissions.account_ids"))]
    accounts += str(at(props, "permissions.accountIds") or "").split(",")
    accounts += [props.get("accountId"), props.get("group")]
    if any(str(account).strip().lower() == "all" for account in accounts):
        yield "It is shared with everybody"


@DATA.resource(
    "service-private",
    "Replication, brokers, serverless warehouses and Airflow have no public address",
    "aws:dms/replicationInstance:ReplicationInstance",
    "aws:mq/broker:Broker",
    "aws:redshiftserverless/workgroup:Workgroup",
    "aws:mwaa/environment:Environment",
    severity="critical",
    fix="Set publicly_accessible to False, or webserver_access_mode to PRIVATE_ONLY.",
    risk="Anyone on the internet can try to sign in to it",
    law=NETWORK,
    rules=("FSBP DMS.1", "FSBP RedshiftServerless.3"),
    url="https://docs.aws.amazon.com/securityhub/latest/userguide/dms-controls.html#dms-1",
)
def service_private(props: Props) -> Iterator[str]:
    """Not public; replication instances are public unless told not to be."""
    if props.get("publiclyAccessible", given(props, "replicationInstanceClass")) is True:
        yield "It can be reached from the internet"
    if props.get("webserverAccessMode") == "PUBLIC_ONLY":
        yield "Its web page can be reached from the internet"


@DATA.resource(
    "broker-audited",
    "Message brokers log who manages them",
    "aws:mq/broker:Broker",
    severity="medium",
    fix="Set logs.audit (ActiveMQ) or logs.general (RabbitMQ) to True.",
    risk="Nobody can tell who changed the broker's users or queues",
    law=LOGGING,
    rules=("FSBP MQ.2",),
    url="https://docs.aws.amazon.com/amazon-mq/latest/developer-guide/security-logging-monitoring.html",
)
def broker_audited(props: Props) -> Iterator[str]:
    """ActiveMQ has an audit log, RabbitMQ a general one."""
    rabbit = str(props.get("engineType") or "").lower() == "rabbitmq"
    if at(props, "logs.general" if rabbit else "logs.audit") is not True:
        yield "It keeps no log of who manages it"


@DATA.resource(
    "warehouse-tls",
    "Warehouses accept TLS only",
    "aws:redshift/parameterGroup:ParameterGroup",
    severity="medium",
    fix="Set the parameter require_ssl to true.",
    risk="Queries and results can be read on their way",
    law=TRANSIT,
    rules=("FSBP Redshift.2",),
    url="https://docs.aws.amazon.com/redshift/latest/mgmt/connecting-ssl-support.html",
)
def warehouse_tls(props: Props) -> Iterator[str]:
    """The parameter is off by default in older families."""
    values = {item.get("name"): str(item.get("value")).lower() for item in listed(props.get("parameters"))}
    default = "true" if props.get("family") == "redshift-2.0" else "false"
    if values.get("require_ssl", default) != "true":
        yield "Clients may connect without TLS"


@DATA.each(
    "warehouse-audited",
    "Warehouses log who signed in",
    "aws:redshift/cluster:Cluster",
    beside=("aws:redshift/logging:Logging",),
    severity="medium",
    fix="Create a redshift Logging for it.",
    risk="Nobody can tell who read which data",
    law=LOGGING,
    rules=("FSBP Redshift.4",),
    url="https://docs.aws.amazon.com/redshift/latest/mgmt/db-auditing.html",
)
def warehouse_audited(cluster: Item, stack: Stack) -> Iterator[str]:
    """A logging of its own, or one inside of it as older providers have it."""
    inside = at(cluster.props, "logging.enable") is True
    if not inside and not stack.companions(cluster, "aws:redshift/logging:Logging", "clusterIdentifier"):
        yield "It keeps no audit log"


@DATA.resource(
    "warehouse-in-vpc",
    "Warehouses load and unload data through the VPC",
    "aws:redshift/cluster:Cluster",
    "aws:redshiftserverless/workgroup:Workgroup",
    severity="medium",
    fix="Set enhanced_vpc_routing to True.",
    risk="Data leaves by the public network, past the VPC's logs and rules",
    law=NETWORK,
    rules=("FSBP Redshift.7", "FSBP RedshiftServerless.1"),
    url="https://docs.aws.amazon.com/redshift/latest/mgmt/enhanced-vpc-routing.html",
)
def warehouse_in_vpc(props: Props) -> Iterator[str]:
    """Enhanced routing."""
    if props.get("enhancedVpcRouting") is not True:
        yield "COPY and UNLOAD bypass the VPC"


DATA.present(
    "glue-secured",
    "Glue jobs and crawlers encrypt what they write",
    "aws:glue/job:Job",
    "aws:glue/crawler:Crawler",
    "aws:glue/devEndpoint:DevEndpoint",
    path="securityConfiguration",
    severity="medium",
    fix="Create a glue SecurityConfiguration with KMS, and name it in security_configuration.",
    risk="Intermediate results and logs of the job lie around unencrypted",
    law=REST,
    url="https://docs.aws.amazon.com/glue/latest/dg/encryption-security-configuration.html",
)


@DATA.resource(
    "glue-security-complete",
    "Glue's security configurations encrypt data, logs and bookmarks",
    "aws:glue/securityConfiguration:SecurityConfiguration",
    severity="medium",
    fix="Set s3_encryption_mode to SSE-KMS, cloudwatch_encryption_mode to SSE-KMS and"
    " job_bookmarks_encryption_mode to CSE-KMS.",
    risk="Part of what a job writes lies around unencrypted, though it seems to be covered",
    law=REST,
    url="https://docs.aws.amazon.com/glue/latest/dg/encryption-security-configuration.html",
)
def glue_complete(props: Props) -> Iterator[str]:
    """All three."""
    for what, path in (
        ("data", "encryptionConfiguration.s3Encryption.s3EncryptionMode"),
        ("logs", "encryptionConfiguration.cloudwatchEncryption.cloudwatchEncryptionMode"),
        ("bookmarks", "encryptionConfiguration.jobBookmarksEncryption.jobBookmarksEncryptionMode"),
    ):
        if at(props, path) in (None, "DISABLED"):
            yield f"It leaves {what} unencrypted"


@DATA.resource(
    "glue-connection-no-secret",
    "Connections of Glue take their password from a secret",
    "aws:glue/connection:Connection",
    severity="high",
    fix="Set SECRET_ID in connection_properties instead of PASSWORD.",
    risk="The database's password is in the code, in the state, and readable by whoever may see the connection",
    law=("GDPR 32(1)(b)", "HIPAA 164.312(d)", "SOC 2 CC6.1"),
    url="https://docs.aws.amazon.com/glue/latest/dg/connection-properties-secrets-manager.html",
)
def glue_connection(props: Props) -> Iterator[str]:
    """No password that is known before deployment."""
    properties = props.get("connectionProperties") or {}
    if given(properties, "PASSWORD") and looks_secret("PASSWORD", properties["PASSWORD"]):
        yield "Its password is in the program"


@DATA.resource(
    "emr-configured",
    "EMR clusters encrypt and have no public address",
    "aws:emr/cluster:Cluster",
    severity="medium",
    fix="Name a security_configuration that encrypts.",
    risk="Data that jobs work on lies unencrypted on the machines' disks",
    law=REST,
    url="https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-data-encryption.html",
)
def emr_configured(props: Props) -> Iterator[str]:
    """A security configuration."""
    if not given(props, "securityConfiguration"):
        yield "It has no security configuration"


@DATA.resource(
    "emr-security-complete",
    "EMR's security configurations encrypt at rest and in transit",
    "aws:emr/securityConfiguration:SecurityConfiguration",
    severity="medium",
    fix="Enable EnableAtRestEncryption and EnableInTransitEncryption in the configuration.",
    risk="Data lies or travels unencrypted, though it seems to be covered",
    law=REST,
    rules=("FSBP EMR.3", "FSBP EMR.4"),
    url="https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-create-security-configuration.html",
)
def emr_complete(props: Props) -> Iterator[str]:
    """Both."""
    value = props.get("configuration")
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return
    encryption: Any = at(found, "EncryptionConfiguration") or {}
    if encryption.get("EnableAtRestEncryption") is not True:
        yield "Data is not encrypted at rest"
    if encryption.get("EnableInTransitEncryption") is not True:
        yield "Data is not encrypted in transit"


@DATA.resource(
    "transfer-no-ftp",
    "File transfers are encrypted",
    "aws:transfer/server:Server",
    severity="high",
    fix="Use SFTP, FTPS or AS2 in protocols.",
    risk="Passwords and files can be read on their way",
    law=TRANSIT,
    rules=("FSBP Transfer.2",),
    url="https://docs.aws.amazon.com/transfer/latest/userguide/create-server-ftp.html",
)
def transfer_no_ftp(props: Props) -> Iterator[str]:
    """Not plain FTP."""
    if "FTP" in listed(props.get("protocols")):
        yield "It offers plain FTP"


@DATA.resource(
    "access-point-own-root",
    "Access points of file systems confine their users",
    "aws:efs/accessPoint:AccessPoint",
    severity="medium",
    fix="Set root_directory.path to a folder below /, and posix_user.",
    risk="A program can read and change the files of every other one",
    rules=("FSBP EFS.3", "FSBP EFS.4"),
    url="https://docs.aws.amazon.com/efs/latest/ug/efs-access-points.html",
)
def access_point_confined(props: Props) -> Iterator[str]:
    """A folder and a user of its own."""
    if str(at(props, "rootDirectory.path") or "/") == "/":
        yield "It shows the whole file system"
    if not given(props, "posixUser"):
        yield "It keeps the user that the client claims to be"


@DATA.resource(
    "desktop-encrypted",
    "Virtual desktops are encrypted",
    "aws:workspaces/workspace:Workspace",
    severity="medium",
    fix="Set root_volume_encryption_enabled and user_volume_encryption_enabled to True.",
    risk="Whoever obtains a disk or a snapshot can read people's files",
    law=REST,
    rules=("FSBP WorkSpaces.1", "FSBP WorkSpaces.2"),
    url="https://docs.aws.amazon.com/workspaces/latest/adminguide/encrypt-workspaces.html",
)
def desktop_encrypted(props: Props) -> Iterator[str]:
    """Both volumes."""
    for what in ("root", "user"):
        if props.get(f"{what}VolumeEncryptionEnabled") is not True:
            yield f"Its {what} volume is not encrypted"


@DATA.resource(
    "model-agent-guarded",
    "Agents of Bedrock have a guardrail",
    "aws:bedrock/agentAgent:AgentAgent",
    severity="medium",
    fix="Set guardrail_configurations.",
    risk="The agent can be talked into giving away personal data, or into harmful answers",
    law=("GDPR 25", "SOC 2 CC6.8"),
    url="https://docs.aws.amazon.com/bedrock/latest/userguide/agents-guardrail.html",
)
def agent_guarded(props: Props) -> Iterator[str]:
    """Any guardrail."""
    if not listed(props.get("guardrailConfigurations")):
        yield "Nothing filters what goes in and out"


@DATA.resource(
    "model-own-key",
    "Agents, guardrails and tuned models of Bedrock are encrypted with a key of the stack",
    "aws:bedrock/agentAgent:AgentAgent",
    "aws:bedrock/guardrail:Guardrail",
    "aws:bedrock/customModel:CustomModel",
    severity="medium",
    fix="Set customer_encryption_key_arn, kms_key_arn or custom_model_kms_key_id.",
    risk="Access to what was learned from the company's data can't be withdrawn by withdrawing a key",
    law=REST,
    url="https://docs.aws.amazon.com/bedrock/latest/userguide/data-encryption.html",
)
def model_own_key(props: Props) -> Iterator[str]:
    """Each type calls the key differently."""
    if not any(given(props, key) for key in ("customerEncryptionKeyArn", "kmsKeyArn", "customModelKmsKeyId")):
        yield "It is encrypted with a key that AWS owns"


@DATA.resource(
    "monitor-job-isolated",
    "Jobs that check a model's data encrypt what they read, and run apart",
    "aws:sagemaker/dataQualityJobDefinition:DataQualityJobDefinition",
    severity="medium",
    fix="Set network_config with enable_inter_container_traffic_encryption, and a volume_kms_key_id in"
    " job_resources.cluster_config.",
    risk="Requests that were captured, with what is in them about people, can be read on the job's disks or network",
    law=REST,
    rules=("FSBP SageMaker.9",),
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor.html",
)
def monitor_isolated(props: Props) -> Iterator[str]:
    """Both."""
    if at(props, "networkConfig.enableInterContainerTrafficEncryption") is not True:
        yield "Its containers talk to each other unencrypted"
    if not given(at(props, "jobResources.clusterConfig"), "volumeKmsKeyId"):
        yield "Its volume is encrypted with a key that AWS owns"
