"""Who may do what, logs, alarms, budgets, audit."""

from __future__ import annotations

from typing import Any

from groundplan.cloud.rules.rule import Cloud, Inputs, Made, Rule


def _log_retention(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if "retentionInDays" in inputs:
        cloud.call("logs", "PutRetentionPolicy", {"logGroupName": inputs["name"], "retentionInDays": int(inputs["retentionInDays"])})


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
    cloud.call("budgets", "CreateBudget", {"AccountId": inputs["accountId"], "Budget": budget, "NotificationsWithSubscribers": notices})
    return f"{inputs['accountId']}:{inputs['name']}", {"arn": f"arn:aws:budgets::{inputs['accountId']}:budget/{inputs['name']}"}


def _topic_policy(cloud: Cloud, inputs: Inputs) -> Made:
    cloud.call("sns", "SetTopicAttributes", {"TopicArn": inputs["arn"], "AttributeName": "Policy", "AttributeValue": inputs["policy"]})
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
        {"Name": item["name"], "FieldSelectors": [{spelled[key]: value for key, value in part.items()} for part in item["fieldSelectors"]]}
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
                {"DestinationBackupVaultArn": copy["destinationVaultArn"], "Lifecycle": lifecycle(copy["lifecycle"])} for copy in rule.get("copyActions", [])
            ],
        }
        for rule in inputs["rules"]
    ]
    answer = cloud.call(
        "backup", "CreateBackupPlan", {"BackupPlan": {"BackupPlanName": inputs["name"], "Rules": rules}, "BackupPlanTags": inputs.get("tags", {})}
    )
    return answer["BackupPlanId"], {"arn": answer["BackupPlanArn"]}


def _workspace_logs(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if logging := inputs.get("loggingConfiguration"):
        cloud.call("amp", "CreateLoggingConfiguration", {"workspaceId": answer["workspaceId"], "logGroupArn": logging["logGroupArn"]})


RULES: dict[str, Rule] = {
    "aws:iam/role:Role": Rule(
        "iam", "CreateRole",
        rename={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[Role][Arn]}", "uniqueId": "{answer[Role][RoleId]}"},
        delete=("DeleteRole", {"RoleName": "{id}"}),
    ),
    "aws:iam/rolePolicy:RolePolicy": Rule(
        "iam", "PutRolePolicy",
        rename={"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
        id="{inputs[role]}:{inputs[name]}",
        delete=("DeleteRolePolicy", {"RoleName": "{inputs[role]}", "PolicyName": "{inputs[name]}"}),
        idempotent=True,
    ),
    "aws:cloudwatch/logGroup:LogGroup": Rule(
        "logs", "CreateLogGroup",
        rename={"name": "logGroupName", "retentionInDays": None, "skipDestroy": None},
        id="{inputs[name]}",
        outputs={"arn": "arn:aws:logs:{region}:{account}:log-group:{inputs[name]}"},
        then=_log_retention,
        delete=("DeleteLogGroup", {"logGroupName": "{id}"}),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Rule(
        "cloudwatch", "PutMetricAlarm",
        rename={"name": "AlarmName"},
        id="{inputs[name]}",
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{inputs[name]}"},
        delete=("DeleteAlarms", {"AlarmNames": "{id}"}),
        idempotent=True,
    ),
    "aws:sns/topic:Topic": Rule(
        "sns", "CreateTopic",
        rename={"kmsMasterKeyId": "Attributes.KmsMasterKeyId", "displayName": "Attributes.DisplayName"},
        id="{answer[TopicArn]}",
        outputs={"arn": "{answer[TopicArn]}"},
        delete=("DeleteTopic", {"TopicArn": "{id}"}),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Rule(
        "sns", "Subscribe",
        rename={"topic": "TopicArn", "confirmationTimeoutInMinutes": None, "endpointAutoConfirms": None, "rawMessageDelivery": None},
        fixed={"ReturnSubscriptionArn": True},
        id="{answer[SubscriptionArn]}",
        outputs={"arn": "{answer[SubscriptionArn]}"},
        delete=("Unsubscribe", {"SubscriptionArn": "{id}"}),
        replaceable=True,
    ),
    "aws:budgets/budget:Budget": Rule(
        "budgets", make=_budget, delete=("DeleteBudget", {"AccountId": "{inputs[accountId]}", "BudgetName": "{inputs[name]}"}), replaceable=True
    ),
    "aws:iam/policy:Policy": Rule(
        "iam", "CreatePolicy",
        rename={"name": "PolicyName", "policy": "PolicyDocument"},
        id="{answer[Policy][Arn]}",
        outputs={"arn": "{answer[Policy][Arn]}"},
        delete=("DeletePolicy", {"PolicyArn": "{id}"}),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Rule(
        "iam", "AttachRolePolicy",
        rename={"role": "RoleName"},
        id="{inputs[role]}/{inputs[policyArn]}",
        delete=("DetachRolePolicy", {"RoleName": "{inputs[role]}", "PolicyArn": "{inputs[policyArn]}"}),
        idempotent=True,
    ),
    "aws:sns/topicPolicy:TopicPolicy": Rule("sns", make=_topic_policy, idempotent=True),
    "aws:cloudwatch/dashboard:Dashboard": Rule(
        "cloudwatch", "PutDashboard",
        id="{inputs[dashboardName]}",
        outputs={"dashboardArn": "arn:aws:cloudwatch::{account}:dashboard/{inputs[dashboardName]}"},
        delete=("DeleteDashboards", {"DashboardNames": "{id}"}),
        idempotent=True,
    ),
    "aws:cloudtrail/trail:Trail": Rule("cloudtrail", make=_trail, delete=("DeleteTrail", {"Name": "{inputs[name]}"}), replaceable=True),
    "aws:cfg/recorder:Recorder": Rule(
        "config", "PutConfigurationRecorder",
        rename={key: f"ConfigurationRecorder.{key}" for key in ("name", "roleArn", "recordingGroup")},
        id="{inputs[name]}",
        delete=("DeleteConfigurationRecorder", {"ConfigurationRecorderName": "{id}"}),
        idempotent=True,
    ),
    "aws:cfg/deliveryChannel:DeliveryChannel": Rule(
        "config", "PutDeliveryChannel",
        rename={key: f"DeliveryChannel.{key}" for key in ("name", "s3BucketName", "s3KeyPrefix", "s3KmsKeyArn")},
        id="{inputs[name]}",
        delete=("DeleteDeliveryChannel", {"DeliveryChannelName": "{id}"}),
        idempotent=True,
    ),
    "aws:cfg/recorderStatus:RecorderStatus": Rule(
        "config", "StartConfigurationRecorder",
        rename={"name": "ConfigurationRecorderName", "isEnabled": None},
        id="{inputs[name]}",
        delete=("StopConfigurationRecorder", {"ConfigurationRecorderName": "{id}"}),
        idempotent=True,
    ),
    "aws:guardduty/detector:Detector": Rule("guardduty", "CreateDetector", id="{answer[DetectorId]}", delete=("DeleteDetector", {"DetectorId": "{id}"})),
    "aws:securityhub/account:Account": Rule(
        "securityhub", "EnableSecurityHub",
        rename={"autoEnableControls": None, "controlFindingGenerator": None},
        id="{account}",
        delete=("DisableSecurityHub", {}),
    ),
    "aws:backup/vault:Vault": Rule(
        "backup", "CreateBackupVault",
        rename={"name": "BackupVaultName", "kmsKeyArn": "EncryptionKeyArn", "tags": "BackupVaultTags", "forceDestroy": None},
        id="{inputs[name]}",
        outputs={"arn": "{answer[BackupVaultArn]}"},
        delete=("DeleteBackupVault", {"BackupVaultName": "{id}"}),
    ),
    "aws:backup/plan:Plan": Rule("backup", make=_backup_plan, delete=("DeleteBackupPlan", {"BackupPlanId": "{id}"}), replaceable=True),
    "aws:amp/workspace:Workspace": Rule(
        "amp", "CreateWorkspace",
        rename={"loggingConfiguration": None},
        id="{answer[workspaceId]}",
        outputs={"arn": "{answer[arn]}", "prometheusEndpoint": "https://aps-workspaces.{region}.amazonaws.com/workspaces/{answer[workspaceId]}/"},
        then=_workspace_logs,
        delete=("DeleteWorkspace", {"workspaceId": "{id}"}),
    ),
    "aws:amp/ruleGroupNamespace:RuleGroupNamespace": Rule(
        "amp", "CreateRuleGroupsNamespace",
        id="{answer[arn]}",
        outputs={"arn": "{answer[arn]}"},
        delete=("DeleteRuleGroupsNamespace", {"workspaceId": "{inputs[workspaceId]}", "name": "{inputs[name]}"}),
        replaceable=True,
    ),
}  # fmt: skip
