"""Models, endpoints, images, autoscaling."""

from __future__ import annotations

from groundplan.cloud.rules.rule import Cloud, Inputs, Made, Rule


def _domain(cloud: Cloud, inputs: Inputs) -> Made:
    settings = inputs["defaultUserSettings"]
    answer = cloud.call(
        "sagemaker",
        "CreateDomain",
        {
            "DomainName": inputs["domainName"],
            "AuthMode": inputs["authMode"],
            "VpcId": inputs["vpcId"],
            "SubnetIds": inputs["subnetIds"],
            "AppNetworkAccessType": inputs["appNetworkAccessType"],
            "KmsKeyId": inputs["kmsKeyId"],
            "DefaultUserSettings": {"ExecutionRole": settings["executionRole"], "SecurityGroups": settings["securityGroups"]},
        },
    )
    return answer["DomainArn"].rpartition("/")[2], {"arn": answer["DomainArn"], "url": answer.get("Url", "")}


_REQUEST_TOKEN = "groundplan-local-cloud-request-token"  # noqa: S105 (an idempotency token, 32 characters at least)

RULES: dict[str, Rule] = {
    "aws:ecr/repository:Repository": Rule(
        "ecr", "CreateRepository",
        rename={"name": "repositoryName", "encryptionConfigurations": "encryptionConfiguration"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[repository][repositoryArn]}", "repositoryUrl": "{answer[repository][repositoryUri]}"},
        delete=("DeleteRepository", {"repositoryName": "{id}"}),
    ),
    "aws:codebuild/project:Project": Rule(
        "codebuild", "CreateProject",
        rename={"buildTimeout": "timeoutInMinutes"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[project][arn]}"},
        delete=("DeleteProject", {"name": "{id}"}),
        replaceable=True,
    ),
    "aws:sagemaker/model:Model": Rule(
        "sagemaker", "CreateModel",
        rename={"name": "ModelName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[ModelArn]}"},
        delete=("DeleteModel", {"ModelName": "{id}"}),
        replaceable=True,
    ),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": Rule(
        "sagemaker", "CreateEndpointConfig",
        rename={"name": "EndpointConfigName", "kmsKeyArn": "KmsKeyId"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[EndpointConfigArn]}"},
        delete=("DeleteEndpointConfig", {"EndpointConfigName": "{id}"}),
    ),
    "aws:sagemaker/endpoint:Endpoint": Rule(
        "sagemaker", "CreateEndpoint",
        rename={"name": "EndpointName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[EndpointArn]}"},
        delete=("DeleteEndpoint", {"EndpointName": "{id}"}),
    ),
    "aws:sagemaker/pipeline:Pipeline": Rule(
        "sagemaker", "CreatePipeline",
        id="{inputs[pipelineName]}",
        outputs={"arn": "{answer[PipelineArn]}"},
        delete=("DeletePipeline", {"PipelineName": "{id}", "ClientRequestToken": _REQUEST_TOKEN}),
        fixed={"ClientRequestToken": _REQUEST_TOKEN},
        replaceable=True,
    ),
    "aws:appautoscaling/target:Target": Rule(
        "application-autoscaling", "RegisterScalableTarget",
        rename={"tags": None},
        id="{inputs[resourceId]}",
        outputs={"arn": "{answer[ScalableTargetARN]}"},
        idempotent=True,
    ),
    "aws:appautoscaling/policy:Policy": Rule(
        "application-autoscaling", "PutScalingPolicy",
        rename={"name": "PolicyName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[PolicyARN]}"},
        idempotent=True,
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Rule(
        "ecr", "PutLifecyclePolicy", rename={"repository": "repositoryName", "policy": "lifecyclePolicyText"}, id="{inputs[repository]}", idempotent=True
    ),
    "aws:sagemaker/featureGroup:FeatureGroup": Rule(
        "sagemaker", "CreateFeatureGroup",
        rename={"recordIdentifierFeatureName": "RecordIdentifierFeatureName"},
        id="{inputs[featureGroupName]}",
        outputs={"arn": "{answer[FeatureGroupArn]}"},
        delete=("DeleteFeatureGroup", {"FeatureGroupName": "{id}"}),
    ),
    "aws:sagemaker/domain:Domain": Rule("sagemaker", make=_domain),
    "aws:scheduler/scheduleGroup:ScheduleGroup": Rule(
        "scheduler", "CreateScheduleGroup", id="{inputs[name]}", outputs={"arn": "{answer[ScheduleGroupArn]}"}, delete=("DeleteScheduleGroup", {"Name": "{id}"})
    ),
    "aws:scheduler/schedule:Schedule": Rule(
        "scheduler", "CreateSchedule",
        id="{inputs[groupName]}/{inputs[name]}",
        outputs={"arn": "{answer[ScheduleArn]}"},
        delete=("DeleteSchedule", {"Name": "{inputs[name]}", "GroupName": "{inputs[groupName]}"}),
        replaceable=True,
    ),
    "aws:iot/roleAlias:RoleAlias": Rule(
        "iot", "CreateRoleAlias",
        rename={"alias": "roleAlias", "credentialDuration": "credentialDurationSeconds"},
        id="{inputs[alias]}",
        outputs={"arn": "{answer[roleAliasArn]}"},
        delete=("DeleteRoleAlias", {"roleAlias": "{id}"}),
    ),
    "aws:iot/policy:Policy": Rule(
        "iot", "CreatePolicy",
        rename={"name": "policyName", "policy": "policyDocument"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[policyArn]}"},
        delete=("DeletePolicy", {"policyName": "{id}"}),
    ),
}  # fmt: skip
