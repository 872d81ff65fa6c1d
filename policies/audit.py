"""Logging and audit: what was done is recorded completely, where nobody can change it."""

from __future__ import annotations

from collections.abc import Iterator

from policies.control import Family, at, given, listed
from policies.stack import Item, Props, Stack

AUDIT = Family("logging and audit", ("GDPR 5(2)", "HIPAA 164.312(b)", "SOX 404", "SOC 2 CC7.2"))
_EKS_LOGS = {"api", "audit", "authenticator"}
_TRAIL = "aws:cloudtrail/trail:Trail"

AUDIT.setting(
    "trail-all-regions",
    "The trail covers every region",
    _TRAIL,
    "isMultiRegionTrail",
    True,
    severity="high",
    risk="Actions in regions that nobody watches, where intruders like to hide, are missing from the archive",
    rules=("CIS AWS 4.1", "FSBP CloudTrail.1"),
    url="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/receive-cloudtrail-log-files-from-multiple-regions.html",
)
AUDIT.setting(
    "trail-validated",
    "The trail's files are signed",
    _TRAIL,
    "enableLogFileValidation",
    True,
    severity="high",
    risk="Records of who did what can be altered or deleted, and nobody can prove that they are complete",
    rules=("CIS AWS 4.2", "FSBP CloudTrail.4"),
    url="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-intro.html",
)
AUDIT.present(
    "trail-own-key",
    "The trail is encrypted with a key of the stack",
    _TRAIL,
    path="kmsKeyId",
    severity="high",
    rules=("CIS AWS 4.5", "FSBP CloudTrail.2"),
    fix="Set kms_key_id.",
    risk="Permission to read the storage is enough to read every record; no second permission protects them",
    url="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/encrypting-cloudtrail-log-files-with-aws-kms.html",
)
AUDIT.setting(
    "config-records-all",
    "AWS Config records every type of resource",
    "aws:cfg/recorder:Recorder",
    "recordingGroup.allSupported",
    True,
    absent=True,
    severity="medium",
    risk="Nobody can tell how a resource of a type left out was configured at the time of an incident",
    rules=("CIS AWS 4.3",),
    url="https://docs.aws.amazon.com/config/latest/developerguide/select-resources.html",
)
AUDIT.setting(
    "guardduty-on",
    "GuardDuty is on",
    "aws:guardduty/detector:Detector",
    "enable",
    True,
    absent=True,
    severity="high",
    risk="Nobody is warned of stolen credentials or an intruder, and a breach may go unnoticed for months",
    law=("GDPR 33", "HIPAA 164.308(a)(6)", "SOC 2 CC7.3"),
    rules=("FSBP GuardDuty.1",),
    url="https://docs.aws.amazon.com/guardduty/latest/ug/what-is-guardduty.html",
)


@AUDIT.resource(
    "trail-not-switched-off",
    "The trail writes",
    _TRAIL,
    severity="critical",
    rules=("CIS AWS 4.1", "FSBP CloudTrail.1"),
    fix="Omit enable_logging, or set it to True.",
    risk="What is done while the trail is off is missing from the archive that auditors and investigators use",
    url="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-turning-off-logging.html",
)
def trail_writes(props: Props) -> Iterator[str]:
    """Not created and left inactive."""
    if props.get("enableLogging") is False:
        yield "The trail exists, but writes nothing"


@AUDIT.resource(
    "trail-records-data",
    "The trail records who read and wrote data",
    _TRAIL,
    severity="medium",
    law=("GDPR 5(2)", "HIPAA 164.312(b)", "SOC 2 CC7.2"),
    rules=("CIS AWS 4.8", "CIS AWS 4.9"),
    fix="Add event selectors with S3 objects of the buckets that hold models and the audit log.",
    risk="After a leak nobody can say which files were read or changed, and all must be presumed leaked",
    production=True,
    url="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html",
)
def trail_data(props: Props) -> Iterator[str]:
    """Data events of any kind."""
    if not (listed(props.get("eventSelectors")) or listed(props.get("advancedEventSelectors"))):
        yield "Only the control plane is recorded, not who read an object"


@AUDIT.stack(
    "trail-present",
    "A trail exists",
    beside=("aws:cloudtrail/trail:Trail",),
    severity="high",
    rules=("CIS AWS 4.1", "FSBP CloudTrail.1"),
    production=True,
    fix="Create a CloudTrail trail, or rely on the organization's and waive this finding.",
    risk="Evidence of who did what is gone after 90 days, the time for which AWS keeps it by itself",
    url="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-create-a-trail-using-the-console-first-time.html",
)
def trail_present(stack: Stack) -> Iterator[tuple[str, str]]:
    """At least one, where anything of AWS is made."""
    if any(item.type.startswith("aws:") for item in stack.items) and not any(stack.of(_TRAIL)):
        yield "", "Nothing records who did what"


@AUDIT.resource(
    "logs-kept",
    "Log groups have a retention period",
    "aws:cloudwatch/logGroup:LogGroup",
    severity="medium",
    law=("GDPR 5(1)(e)", "SOX 404", "SOC 2 CC7.2"),
    fix="Set retention_in_days.",
    risk="Personal data in logs may be kept longer than the law allows, and storage costs grow without end",
    url="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
)
def logs_kept(props: Props) -> Iterator[str]:
    """Not forever, which costs money and keeps personal data, or by accident."""
    if not props.get("retentionInDays"):
        yield "Logs are kept forever"


@AUDIT.resource(
    "logs-kept-a-year",
    "Production's logs are kept for at least a year",
    "aws:cloudwatch/logGroup:LogGroup",
    severity="medium",
    production=True,
    law=("SOX 404", "SOC 2 CC7.2"),
    fix="Set retention_in_days to 365 or more.",
    risk="When auditors ask about the last financial year, or an intrusion is found late, the logs are gone",
    url="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
)
def logs_a_year(props: Props) -> Iterator[str]:
    """So that an audit of the last financial year finds them."""
    if 0 < (props.get("retentionInDays") or 0) < 365:
        yield f"They are deleted after {props['retentionInDays']:g} days"


@AUDIT.each(
    "vpc-flow-logged",
    "Traffic of every VPC is logged",
    "aws:ec2/vpc:Vpc",
    beside=("aws:ec2/flowLog:FlowLog",),
    severity="medium",
    rules=("CIS AWS 4.7", "FSBP EC2.6"),
    fix="Create a FlowLog for it.",
    risk="After an intrusion nobody can tell which systems the intruder reached, or where data was sent",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs.html",
)
def vpc_flow_logged(vpc: Item, stack: Stack) -> Iterator[str]:
    """A flow log of the VPC itself."""
    if not stack.companions(vpc, "aws:ec2/flowLog:FlowLog", "vpcId"):
        yield "No record shows who talked to whom"


@AUDIT.resource(
    "eks-control-plane-logs",
    "The cluster's control plane logs",
    "aws:eks/cluster:Cluster",
    severity="high",
    rules=("CIS EKS 2.1.1", "FSBP EKS.8"),
    fix="Set enabled_cluster_log_types to api, audit, authenticator, controllerManager, scheduler.",
    risk="Nobody can find out who changed a workload, read a secret or was refused access in the cluster",
    url="https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html",
)
def control_plane_logs(props: Props) -> Iterator[str]:
    """API, audit, authenticator at least."""
    if missing := sorted(_EKS_LOGS - set(listed(props.get("enabledClusterLogTypes")))):
        yield f"No logs of {', '.join(missing)}"


@AUDIT.resource(
    "msk-broker-logs",
    "Brokers log",
    "aws:msk/cluster:Cluster",
    severity="medium",
    fix="Set logging_info.broker_logs to CloudWatch or S3.",
    risk="Why messages were lost, or a client was refused, can't be found out afterwards",
    url="https://docs.aws.amazon.com/msk/latest/developerguide/msk-logging.html",
)
def broker_logs(props: Props) -> Iterator[str]:
    """Anywhere."""
    logs = at(props, "loggingInfo.brokerLogs") or {}
    if not any((logs.get(where) or {}).get("enabled") for where in ("cloudwatchLogs", "s3", "firehose")):
        yield "Brokers write no logs"


@AUDIT.resource(
    "rds-log-exports",
    "The database's log is exported",
    "aws:rds/instance:Instance",
    severity="medium",
    rules=("FSBP RDS.9", "FSBP RDS.36"),
    fix="Set enabled_cloudwatch_logs_exports (postgresql, upgrade).",
    risk="The log disappears with the database, or after some days, and with it the trace of errors and misuse",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_LogAccess.Procedural.UploadtoCloudWatch.html",
)
def database_logs(props: Props) -> Iterator[str]:
    """At least one log."""
    if not listed(props.get("enabledCloudwatchLogsExports")):
        yield "Its log stays on the database's own disk"


@AUDIT.resource(
    "api-logged",
    "HTTP APIs log who called",
    "aws:apigatewayv2/stage:Stage",
    "aws:apigateway/stage:Stage",
    severity="medium",
    rules=("CIS AWS 4.10", "FSBP APIGateway.9"),
    fix="Set access_log_settings.",
    risk="Misuse of the interface can't be traced: neither who called it nor how often is on record",
    url="https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html",
)
def api_logged(props: Props) -> Iterator[str]:
    """Access logs."""
    if not given(props, "accessLogSettings"):
        yield "Nobody can find out afterwards who called it"
