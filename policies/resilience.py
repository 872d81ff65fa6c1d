"""Resilience and backup: lost data can be restored, and production survives the loss of a zone."""

from __future__ import annotations

from collections.abc import Iterator

from policies.control import BUCKET, Family, at, given, listed
from policies.documents import known
from policies.iam.documents import UNKNOWN
from policies.stack import Item, Props, Stack

RESILIENCE = Family("resilience and backup", ("GDPR 32(1)(c)", "HIPAA 164.308(a)(7)(ii)", "SOC 2 A1.2"))
_DATABASE = "aws:rds/instance:Instance"
_HOLDS_DATA = (
    "aws:s3/bucket:Bucket",
    "aws:kms/key:Key",
    "aws:rds/instance:Instance",
    "aws:dynamodb/table:Table",
    "aws:backup/vault:Vault",
)
LEAST_BACKUP_DAYS = 7

RESILIENCE.setting(
    "rds-two-zones",
    "Production's databases run in two zones",
    _DATABASE,
    "multiAz",
    True,
    severity="high",
    risk=(
        "When one data centre fails, the database and everything that relies on it may be down for hours, and"
        " recent data may be lost"
    ),
    rules=("CIS AWS 3.2.4", "FSBP RDS.5"),
    production=True,
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.MultiAZ.html",
)
RESILIENCE.setting(
    "rds-deletion-protected",
    "Production's databases can't be deleted by mistake",
    _DATABASE,
    "deletionProtection",
    True,
    severity="high",
    risk="One wrong command removes the database, and the service is down until the data is restored, if it can be",
    rules=("FSBP RDS.8",),
    production=True,
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_DeleteInstance.html",
)
RESILIENCE.setting(
    "dynamodb-deletion-protected",
    "Production's tables can't be deleted by mistake",
    "aws:dynamodb/table:Table",
    "deletionProtectionEnabled",
    True,
    severity="high",
    risk="One wrong command removes all records at once, and every service that reads them fails",
    rules=("FSBP DynamoDB.6",),
    production=True,
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithTables.Basics.html",
)
RESILIENCE.setting(
    "eks-deletion-protected",
    "Production's cluster can't be deleted by mistake",
    "aws:eks/cluster:Cluster",
    "deletionProtection",
    True,
    severity="medium",
    risk="One wrong command removes the platform that all services run on, and rebuilding it takes hours or days",
    production=True,
    url="https://docs.aws.amazon.com/eks/latest/userguide/deletion-protection.html",
)
RESILIENCE.setting(
    "dynamodb-point-in-time",
    "Tables can be restored to any second",
    "aws:dynamodb/table:Table",
    "pointInTimeRecovery.enabled",
    True,
    severity="medium",
    risk="After a faulty program has overwritten records, their state from before the mistake can't be brought back",
    rules=("FSBP DynamoDB.2",),
    production=True,
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Point-in-time-recovery.html",
)
RESILIENCE.setting(
    "efs-backed-up",
    "File systems are backed up",
    "aws:efs/backupPolicy:BackupPolicy",
    "backupPolicy.status",
    "ENABLED",
    severity="medium",
    risk="Files that are deleted, overwritten or encrypted by an extortionist can't be recovered",
    rules=("FSBP EFS.7",),
    url="https://docs.aws.amazon.com/efs/latest/ug/awsbackup.html",
)


@RESILIENCE.resource(
    "rds-backed-up",
    "Backups of databases are kept for at least a week",
    _DATABASE,
    severity="high",
    rules=("FSBP RDS.11",),
    production=True,
    fix=f"Set backup_retention_period to {LEAST_BACKUP_DAYS} or more.",
    risk="Damage that is noticed only after some days can't be undone, because every copy that is left contains it too",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html",
)
def database_backed_up(props: Props) -> Iterator[str]:
    """Days of automated backups."""
    days = props.get("backupRetentionPeriod") or 0
    if days < LEAST_BACKUP_DAYS:
        yield f"Backups are kept for {days:g} days"


@RESILIENCE.resource(
    "rds-final-snapshot",
    "Production's databases leave a final snapshot",
    _DATABASE,
    severity="medium",
    production=True,
    fix="Set skip_final_snapshot to False, and give final_snapshot_identifier.",
    risk=(
        "Removing a database, even by mistake, destroys its data for good, with records that the law may"
        " require to be kept"
    ),
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_DeleteInstance.html",
)
def final_snapshot(props: Props) -> Iterator[str]:
    """Not skipped."""
    if props.get("skipFinalSnapshot"):
        yield "Deleting it deletes everything"


@RESILIENCE.each(
    "s3-versioned",
    "Buckets keep previous versions",
    BUCKET,
    beside=("aws:s3/bucketVersioning:BucketVersioning",),
    severity="medium",
    law=(*RESILIENCE.law, "SOX 404"),
    fix="Create a BucketVersioning with status Enabled.",
    risk="A file that is overwritten or deleted, by mistake or by an extortionist, is gone for good",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html",
)
def versioned(bucket: Item, stack: Stack) -> Iterator[str]:
    """An object that is overwritten or deleted by mistake can be restored."""
    settings = stack.companions(bucket, "aws:s3/bucketVersioning:BucketVersioning", "bucket")
    inside = (at(bucket.props, "versioning.enabled"), at(bucket.props, "versionings.enabled"))
    if True not in inside and not any(
        at(item.props, "versioningConfiguration.status") == "Enabled" for item in settings
    ):
        yield "Overwritten objects are lost"


@RESILIENCE.each(
    "backup-plan-present",
    "Production's databases and tables are in a backup plan",
    _DATABASE,
    "aws:rds/cluster:Cluster",
    "aws:dynamodb/table:Table",
    beside=("aws:backup/selection:Selection",),
    severity="medium",
    production=True,
    fix="Create a backup plan and select them.",
    risk="No independent copy exists, so a mistake or an intruder may cost the company all of this data",
    url="https://docs.aws.amazon.com/aws-backup/latest/devguide/about-backup-plans.html",
)
def backup_plan(item: Item, stack: Stack) -> Iterator[str]:
    """A selection names it, by ARN or by one of its tags."""
    selection = "aws:backup/selection:Selection"
    if stack.companions(item, selection, "resources"):
        return
    if not any(_selects(found.props, item.props) for found in stack.of(selection)):
        yield "It is in no backup plan"


def _selects(selection: Props, props: Props) -> bool:
    """Whether a selection is of everything, or of a tag that the resource has."""
    for pattern in listed(known(selection).get("resources")):
        if pattern.rpartition(":")[2].strip("*") in ("", "table/", "db"):
            return True
    tags = known(props.get("tags") or {})
    wanted = [(tag.get("key"), tag.get("value")) for tag in listed(known(selection).get("selectionTags"))]
    for condition in listed(known(selection).get("conditions")):
        wanted += [
            (str(test.get("key")).removeprefix("aws:ResourceTag/"), test.get("value"))
            for test in listed(condition.get("stringEquals"))
        ]
    return any(tags.get(key) == value or value == UNKNOWN for key, value in wanted if key in tags)


@RESILIENCE.each(
    "data-protected",
    "What stores production's data can't be deleted by a deployment",
    *_HOLDS_DATA,
    severity="medium",
    production=True,
    law=(*RESILIENCE.law, "SOX 404"),
    fix="Pass ResourceOptions(protect=True).",
    risk=(
        "A mistake in the program, such as a changed name, makes the next update delete customers' data or"
        " the key that opens it"
    ),
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
)
def data_protected(item: Item, _stack: Stack) -> Iterator[str]:
    """The engine's own protection, for mistakes in the program."""
    if not item.protect:
        yield "A deployment that no longer has it would delete it"


@RESILIENCE.resource(
    "msk-three-copies",
    "Brokers run in at least two zones",
    "aws:msk/cluster:Cluster",
    severity="medium",
    production=True,
    fix="Use client subnets in two or three zones, and as many brokers or a multiple.",
    risk=(
        "When a single machine or data centre fails, the stream of events stops, and events not yet processed"
        " may be lost"
    ),
    url="https://docs.aws.amazon.com/msk/latest/developerguide/bestpractices.html",
)
def brokers_in_zones(props: Props) -> Iterator[str]:
    """By the number of brokers."""
    if (props.get("numberOfBrokerNodes") or 0) < 2:
        yield "A single broker has all the data"


@RESILIENCE.resource(
    "nodes-in-zones",
    "The cluster's nodes can run in several zones",
    "aws:eks/nodeGroup:NodeGroup",
    severity="medium",
    production=True,
    fix="Use subnets in two zones or more.",
    risk="When one data centre fails, every service in the cluster stops with it",
    url="https://docs.aws.amazon.com/eks/latest/best-practices/reliability.html",
)
def nodes_in_zones(props: Props) -> Iterator[str]:
    """At least two subnets."""
    if given(props, "subnetIds") and len(props["subnetIds"]) < 2:
        yield "All nodes run in one zone"


@RESILIENCE.resource(
    "endpoint-two-instances",
    "Production's endpoints run on two instances",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
    severity="medium",
    production=True,
    law=("SOC 2 A1.2",),
    rules=("FSBP SageMaker.4",),
    fix="Set initial_instance_count of the variant that takes the traffic to 2 or more.",
    risk="When one machine fails or is serviced, no predictions are made, and whatever waits for them stands still",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/best-practices.html",
)
def two_instances(props: Props) -> Iterator[str]:
    """SageMaker spreads them over zones; each variant's instances count separately."""
    for variant in listed(props.get("productionVariants")):
        if (
            not given(variant, "serverlessConfig")
            and (variant.get("initialVariantWeight", 1) or 0) > 0
            and (variant.get("initialInstanceCount") or 0) < 2
        ):
            yield f"The variant {variant.get('variantName', '')} runs in one zone"
