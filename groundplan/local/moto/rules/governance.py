"""Who may do what, logs, alarms, budgets, audit."""

from __future__ import annotations

from typing import Any

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule

_POLICY_VERSIONS = 5  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html


def _log_retention(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if "retentionInDays" in inputs:
        cloud.call(
            "logs",
            "PutRetentionPolicy",
            {"logGroupName": inputs["name"], "retentionInDays": int(inputs["retentionInDays"])},
        )


def _budget(cloud: Cloud, inputs: Inputs) -> Made:
    budget: dict[str, Any] = {
        "BudgetName": inputs["name"],
        "BudgetType": inputs["budgetType"],
        "BudgetLimit": {"Amount": inputs["limitAmount"], "Unit": inputs["limitUnit"]},
        "TimeUnit": inputs["timeUnit"],
        "CostFilters": {item["name"]: item["values"] for item in inputs.get("costFilters", [])},
    }
    notices = [
        {
            "Notification": {
                "NotificationType": item["notificationType"],
                "ComparisonOperator": item["comparisonOperator"],
                "Threshold": float(item["threshold"]),
                "ThresholdType": item["thresholdType"],
            },
            "Subscribers": [
                {"SubscriptionType": kind, "Address": address}
                for kind, key in (("EMAIL", "subscriberEmailAddresses"), ("SNS", "subscriberSnsTopicArns"))
                for address in item.get(key, [])
            ],
        }
        for item in inputs.get("notifications", [])
    ]
    cloud.call(
        "budgets",
        "CreateBudget",
        {"AccountId": inputs["accountId"], "Budget": budget, "NotificationsWithSubscribers": notices},
    )
    return f"{inputs['accountId']}:{inputs['name']}", {
        "arn": f"arn:aws:budgets::{inputs['accountId']}:budget/{inputs['name']}"
    }


def _topic_policy(cloud: Cloud, inputs: Inputs) -> Made:
    cloud.call(
        "sns",
        "SetTopicAttributes",
        {"TopicArn": inputs["arn"], "AttributeName": "Policy", "AttributeValue": inputs["policy"]},
    )
    return inputs["arn"], {}


def _trail(cloud: Cloud, inputs: Inputs) -> Made:
    name = inputs["name"]
    answer = cloud.call(
        "cloudtrail",
        "CreateTrail",
        {
            "Name": name,
            "S3BucketName": inputs["s3BucketName"],
            "S3KeyPrefix": inputs["s3KeyPrefix"],
            "IsMultiRegionTrail": inputs["isMultiRegionTrail"],
            "IncludeGlobalServiceEvents": inputs["includeGlobalServiceEvents"],
            "EnableLogFileValidation": inputs["enableLogFileValidation"],
            "KmsKeyId": inputs["kmsKeyId"],
            "TagsList": [{"Key": k, "Value": v} for k, v in inputs.get("tags", {}).items()],
        },
    )
    spelled = {"field": "Field", "equals": "Equals", "startsWiths": "StartsWith"}
    selectors = [
        {
            "Name": item["name"],
            "FieldSelectors": [{spelled[key]: value for key, value in part.items()} for part in item["fieldSelectors"]],
        }
        for item in inputs["advancedEventSelectors"]
    ]
    cloud.call("cloudtrail", "PutEventSelectors", {"TrailName": name, "AdvancedEventSelectors": selectors})
    cloud.call("cloudtrail", "StartLogging", {"Name": name})
    return answer["TrailARN"], {"arn": answer["TrailARN"]}


def _backup_plan(cloud: Cloud, inputs: Inputs) -> Made:
    def lifecycle(item: dict[str, Any]) -> dict[str, int]:
        return {"DeleteAfterDays": int(item["deleteAfter"])}

    rules = [
        {
            "RuleName": rule["ruleName"],
            "TargetBackupVaultName": rule["targetVaultName"],
            "ScheduleExpression": rule["schedule"],
            "StartWindowMinutes": int(rule["startWindow"]),
            "CompletionWindowMinutes": int(rule["completionWindow"]),
            "Lifecycle": lifecycle(rule["lifecycle"]),
            "CopyActions": [
                {"DestinationBackupVaultArn": copy["destinationVaultArn"], "Lifecycle": lifecycle(copy["lifecycle"])}
                for copy in rule.get("copyActions", [])
            ],
        }
        for rule in inputs["rules"]
    ]
    answer = cloud.call(
        "backup",
        "CreateBackupPlan",
        {"BackupPlan": {"BackupPlanName": inputs["name"], "Rules": rules}, "BackupPlanTags": inputs.get("tags", {})},
    )
    return answer["BackupPlanId"], {"arn": answer["BackupPlanArn"]}


def _workspace(cloud: Cloud, inputs: Inputs) -> Made:
    request = {key: inputs[key] for key in ("alias", "kmsKeyArn", "tags") if inputs.get(key)}
    made = cloud.call("amp", "CreateWorkspace", request)
    if logging := inputs.get("loggingConfiguration"):
        group = {"workspaceId": made["workspaceId"], "logGroupArn": logging["logGroupArn"]}
        cloud.call("amp", "CreateLoggingConfiguration", group)
    told = cloud.call("amp", "DescribeWorkspace", {"workspaceId": made["workspaceId"]})["workspace"]
    return made["workspaceId"], {"arn": made["arn"], "prometheusEndpoint": told["prometheusEndpoint"]}


def _read_log_group(cloud: Cloud, inputs: Inputs, group: str) -> Inputs | None:
    found: list[Inputs] = cloud.call("logs", "DescribeLogGroups", {"logGroupNamePrefix": group})["logGroups"]
    return next((item for item in found if item["logGroupName"] == group), None)


def _new_log_retention(cloud: Cloud, inputs: Inputs, group: str) -> None:
    if inputs.get("retentionInDays"):
        cloud.call(
            "logs", "PutRetentionPolicy", {"logGroupName": group, "retentionInDays": int(inputs["retentionInDays"])}
        )
    else:
        cloud.call("logs", "DeleteRetentionPolicy", {"logGroupName": group})


def _read_policy(cloud: Cloud, inputs: Inputs, arn: str) -> Inputs:
    found = cloud.call("iam", "GetPolicy", {"PolicyArn": arn})["Policy"]
    version = cloud.call("iam", "GetPolicyVersion", {"PolicyArn": arn, "VersionId": found["DefaultVersionId"]})[
        "PolicyVersion"
    ]
    return {**found, "PolicyDocument": version["Document"]}


def _new_policy(cloud: Cloud, inputs: Inputs, arn: str) -> None:
    """A policy keeps five versions: the oldest is deleted to make room."""
    versions = cloud.call("iam", "ListPolicyVersions", {"PolicyArn": arn})["Versions"]
    if len(versions) >= _POLICY_VERSIONS:
        oldest = min(
            (item for item in versions if not item["IsDefaultVersion"]),
            key=lambda item: int(item["VersionId"].removeprefix("v")),
        )
        cloud.call("iam", "DeletePolicyVersion", {"PolicyArn": arn, "VersionId": oldest["VersionId"]})
    cloud.call(
        "iam", "CreatePolicyVersion", {"PolicyArn": arn, "PolicyDocument": inputs["policy"], "SetAsDefault": True}
    )


def _delete_policy(cloud: Cloud, inputs: Inputs, arn: str) -> None:
    for version in cloud.call("iam", "ListPolicyVersions", {"PolicyArn": arn})["Versions"]:
        if not version["IsDefaultVersion"]:
            cloud.call("iam", "DeletePolicyVersion", {"PolicyArn": arn, "VersionId": version["VersionId"]})
    cloud.call("iam", "DeletePolicy", {"PolicyArn": arn})


def _new_trust(cloud: Cloud, inputs: Inputs, role: str) -> None:
    cloud.call("iam", "UpdateAssumeRolePolicy", {"RoleName": role, "PolicyDocument": inputs["assumeRolePolicy"]})


def _new_role(cloud: Cloud, inputs: Inputs, role: str) -> None:
    wanted = {
        "Description": inputs.get("description", ""),
        "MaxSessionDuration": int(inputs.get("maxSessionDuration") or 3600),
    }
    cloud.call("iam", "UpdateRole", {"RoleName": role, **wanted})


def _new_boundary(cloud: Cloud, inputs: Inputs, role: str) -> None:
    if inputs.get("permissionsBoundary"):
        cloud.call(
            "iam",
            "PutRolePermissionsBoundary",
            {"RoleName": role, "PermissionsBoundary": inputs["permissionsBoundary"]},
        )
    else:
        cloud.call("iam", "DeleteRolePermissionsBoundary", {"RoleName": role})


def _read_attachment(cloud: Cloud, inputs: Inputs, attachment: str) -> Inputs | None:
    found: list[Inputs] = cloud.call("iam", "ListAttachedRolePolicies", {"RoleName": inputs["role"]})[
        "AttachedPolicies"
    ]
    return next((item for item in found if item["PolicyArn"] == inputs["policyArn"]), None)


def _metric_queries(inputs: Inputs) -> Inputs:
    """CloudWatch nests a query's metric twice."""
    if "metricQueries" not in inputs:
        return inputs
    queries = []
    for query in inputs["metricQueries"]:
        rest = {key: value for key, value in query.items() if key != "metric"}
        if metric := query.get("metric"):
            of = {key: metric[key] for key in ("namespace", "metricName", "dimensions") if key in metric}
            rest["metricStat"] = {
                "metric": of,
                **{key: metric[key] for key in ("period", "stat", "unit") if key in metric},
            }
        queries.append(rest)
    return {**{key: value for key, value in inputs.items() if key != "metricQueries"}, "metrics": queries}


def _read_metric_alarm(cloud: Cloud, inputs: Inputs, name: str) -> dict[str, Any] | None:
    found = _alarm(cloud, name, "MetricAlarm")
    if found is None or "Metrics" not in found:
        return found
    queries = []
    for query in found.pop("Metrics"):
        asked = query.pop("MetricStat", None)
        metric = {**asked.pop("Metric"), **asked} if asked else None
        queries.append({**query, **({"Metric": metric} if metric else {})})
    return {**found, "MetricQueries": queries}


def _read_composite_alarm(cloud: Cloud, inputs: Inputs, name: str) -> dict[str, Any] | None:
    found = _alarm(cloud, name, "CompositeAlarm")
    if found is not None and (alarm := found.pop("ActionsSuppressor", None)):
        periods = {f"{kind}Period": found[f"ActionsSuppressor{kind}Period"] for kind in ("Wait", "Extension")}
        found["ActionsSuppressor"] = {"Alarm": alarm, **periods}
    return found


def _alarm(cloud: Cloud, name: str, kind: str) -> dict[str, Any] | None:
    answer = cloud.call("cloudwatch", "DescribeAlarms", {"AlarmNames": [name], "AlarmTypes": [kind]})
    return next(iter(answer[f"{kind}s"]), None)


def _suppressor(inputs: Inputs) -> Inputs:
    rest = {key: value for key, value in inputs.items() if key != "actionsSuppressor"}
    if silenced := inputs.get("actionsSuppressor"):
        rest |= {
            "actionsSuppressor": silenced["alarm"],
            "actionsSuppressorWaitPeriod": silenced["waitPeriod"],
            "actionsSuppressorExtensionPeriod": silenced["extensionPeriod"],
        }
    return rest


RULES: dict[str, Rule] = {
    "aws:iam/role:Role": Rule(
        "iam",
        "CreateRole",
        rename={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[Role][Arn]}", "uniqueId": "{answer[Role][RoleId]}"},
        delete=("DeleteRole", {"RoleName": "{id}"}),
        update={
            "assumeRolePolicy": _new_trust,
            "description": _new_role,
            "maxSessionDuration": _new_role,
            "permissionsBoundary": _new_boundary,
            "forceDetachPolicies": lambda cloud, inputs, role: None,
        },
        read=("GetRole", {"RoleName": "{id}"}, "Role"),
    ),
    "aws:iam/rolePolicy:RolePolicy": Rule(
        "iam",
        "PutRolePolicy",
        rename={"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
        id="{inputs[role]}:{inputs[name]}",
        delete=("DeleteRolePolicy", {"RoleName": "{inputs[role]}", "PolicyName": "{inputs[name]}"}),
        idempotent=True,
        read=("GetRolePolicy", {"RoleName": "{inputs[role]}", "PolicyName": "{inputs[name]}"}, ""),
    ),
    "aws:cloudwatch/logGroup:LogGroup": Rule(
        "logs",
        "CreateLogGroup",
        rename={"name": "logGroupName", "retentionInDays": None, "skipDestroy": None},
        id="{inputs[name]}",
        outputs={"arn": "arn:aws:logs:{region}:{account}:log-group:{inputs[name]}"},
        then=_log_retention,
        delete=("DeleteLogGroup", {"logGroupName": "{id}"}),
        update={"retentionInDays": _new_log_retention, "skipDestroy": lambda cloud, inputs, group: None},
        read=_read_log_group,
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Rule(
        "cloudwatch",
        "PutMetricAlarm",
        adapt=_metric_queries,
        rename={"name": "AlarmName"},
        id="{inputs[name]}",
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{inputs[name]}"},
        delete=("DeleteAlarms", {"AlarmNames": "{id}"}),
        idempotent=True,
        read=_read_metric_alarm,
    ),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": Rule(
        "cloudwatch",
        "PutCompositeAlarm",
        adapt=_suppressor,
        id="{inputs[alarmName]}",
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{inputs[alarmName]}"},
        delete=("DeleteAlarms", {"AlarmNames": "{id}"}),
        idempotent=True,
        read=_read_composite_alarm,
    ),
    "aws:sns/topic:Topic": Rule(
        "sns",
        "CreateTopic",
        rename={"kmsMasterKeyId": "Attributes.KmsMasterKeyId", "displayName": "Attributes.DisplayName"},
        id="{answer[TopicArn]}",
        outputs={"arn": "{answer[TopicArn]}"},
        delete=("DeleteTopic", {"TopicArn": "{id}"}),
        read=("GetTopicAttributes", {"TopicArn": "{id}"}, "Attributes"),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Rule(
        "sns",
        "Subscribe",
        rename={
            "topic": "TopicArn",
            "confirmationTimeoutInMinutes": None,
            "endpointAutoConfirms": None,
            "rawMessageDelivery": None,
        },
        fixed={"ReturnSubscriptionArn": True},
        id="{answer[SubscriptionArn]}",
        outputs={"arn": "{answer[SubscriptionArn]}"},
        delete=("Unsubscribe", {"SubscriptionArn": "{id}"}),
        replaceable=True,
        read=("GetSubscriptionAttributes", {"SubscriptionArn": "{id}"}, "Attributes"),
    ),
    "aws:budgets/budget:Budget": Rule(
        "budgets",
        make=_budget,
        delete=("DeleteBudget", {"AccountId": "{inputs[accountId]}", "BudgetName": "{inputs[name]}"}),
        replaceable=True,
        read=("DescribeBudget", {"AccountId": "{inputs[accountId]}", "BudgetName": "{inputs[name]}"}, "Budget"),
    ),
    "aws:iam/policy:Policy": Rule(
        "iam",
        "CreatePolicy",
        rename={"name": "PolicyName", "policy": "PolicyDocument"},
        id="{answer[Policy][Arn]}",
        outputs={"arn": "{answer[Policy][Arn]}"},
        delete=_delete_policy,
        update={"policy": _new_policy},
        read=_read_policy,
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Rule(
        "iam",
        "AttachRolePolicy",
        rename={"role": "RoleName"},
        id="{inputs[role]}/{inputs[policyArn]}",
        delete=("DetachRolePolicy", {"RoleName": "{inputs[role]}", "PolicyArn": "{inputs[policyArn]}"}),
        idempotent=True,
        read=_read_attachment,
    ),
    "aws:sns/topicPolicy:TopicPolicy": Rule(
        "sns", make=_topic_policy, idempotent=True, read=("GetTopicAttributes", {"TopicArn": "{id}"}, "Attributes")
    ),
    "aws:cloudwatch/dashboard:Dashboard": Rule(
        "cloudwatch",
        "PutDashboard",
        id="{inputs[dashboardName]}",
        outputs={"dashboardArn": "arn:aws:cloudwatch::{account}:dashboard/{inputs[dashboardName]}"},
        delete=("DeleteDashboards", {"DashboardNames": "{id}"}),
        idempotent=True,
        read=("GetDashboard", {"DashboardName": "{id}"}, ""),
    ),
    "aws:cloudtrail/trail:Trail": Rule(
        "cloudtrail",
        make=_trail,
        delete=("DeleteTrail", {"Name": "{inputs[name]}"}),
        replaceable=True,
        read=("GetTrail", {"Name": "{id}"}, "Trail"),
    ),
    "aws:cfg/recorder:Recorder": Rule(
        "config",
        "PutConfigurationRecorder",
        rename={key: f"ConfigurationRecorder.{key}" for key in ("name", "roleArn", "recordingGroup")},
        id="{inputs[name]}",
        delete=("DeleteConfigurationRecorder", {"ConfigurationRecorderName": "{id}"}),
        idempotent=True,
        read=("DescribeConfigurationRecorders", {"ConfigurationRecorderNames": "{id}"}, "ConfigurationRecorders[0]"),
    ),
    "aws:cfg/deliveryChannel:DeliveryChannel": Rule(
        "config",
        "PutDeliveryChannel",
        rename={key: f"DeliveryChannel.{key}" for key in ("name", "s3BucketName", "s3KeyPrefix", "s3KmsKeyArn")},
        id="{inputs[name]}",
        delete=("DeleteDeliveryChannel", {"DeliveryChannelName": "{id}"}),
        idempotent=True,
        read=("DescribeDeliveryChannels", {"DeliveryChannelNames": "{id}"}, "DeliveryChannels[0]"),
    ),
    "aws:cfg/recorderStatus:RecorderStatus": Rule(
        "config",
        "StartConfigurationRecorder",
        rename={"name": "ConfigurationRecorderName", "isEnabled": None},
        id="{inputs[name]}",
        delete=("StopConfigurationRecorder", {"ConfigurationRecorderName": "{id}"}),
        idempotent=True,
        read=(
            "DescribeConfigurationRecorderStatus",
            {"ConfigurationRecorderNames": "{id}"},
            "{isEnabled: ConfigurationRecordersStatus[0].recording}",
        ),
    ),
    "aws:guardduty/detector:Detector": Rule(
        "guardduty",
        "CreateDetector",
        id="{answer[DetectorId]}",
        outputs={"arn": "arn:aws:guardduty:{region}:{account}:detector/{answer[DetectorId]}"},
        delete=("DeleteDetector", {"DetectorId": "{id}"}),
        read=("GetDetector", {"DetectorId": "{id}"}, ""),
    ),
    "aws:securityhub/account:Account": Rule(
        "securityhub",
        "EnableSecurityHub",
        rename={"autoEnableControls": None, "controlFindingGenerator": None},
        id="{account}",
        delete=("DisableSecurityHub", {}),
        read=("DescribeHub", {}, ""),
    ),
    "aws:backup/vault:Vault": Rule(
        "backup",
        "CreateBackupVault",
        rename={
            "name": "BackupVaultName",
            "kmsKeyArn": "EncryptionKeyArn",
            "tags": "BackupVaultTags",
            "forceDestroy": None,
        },
        id="{inputs[name]}",
        outputs={"arn": "{answer[BackupVaultArn]}"},
        delete=("DeleteBackupVault", {"BackupVaultName": "{id}"}),
        read=("DescribeBackupVault", {"BackupVaultName": "{id}"}, ""),
    ),
    "aws:backup/plan:Plan": Rule(
        "backup",
        make=_backup_plan,
        delete=("DeleteBackupPlan", {"BackupPlanId": "{id}"}),
        replaceable=True,
        read=("GetBackupPlan", {"BackupPlanId": "{id}"}, "!DeletionDate && {name: BackupPlan.BackupPlanName}"),
    ),
    "aws:amp/workspace:Workspace": Rule(
        "amp",
        make=_workspace,
        delete=("DeleteWorkspace", {"workspaceId": "{id}"}),
        read=("DescribeWorkspace", {"workspaceId": "{id}"}, "workspace"),
    ),
    "aws:amp/ruleGroupNamespace:RuleGroupNamespace": Rule(
        "amp",
        "CreateRuleGroupsNamespace",
        id="{answer[arn]}",
        outputs={"arn": "{answer[arn]}"},
        delete=("DeleteRuleGroupsNamespace", {"workspaceId": "{inputs[workspaceId]}", "name": "{inputs[name]}"}),
        replaceable=True,
        read=(
            "DescribeRuleGroupsNamespace",
            {"workspaceId": "{inputs[workspaceId]}", "name": "{inputs[name]}"},
            "ruleGroupsNamespace",
        ),
    ),
}
