"""Models, endpoints, images, autoscaling."""

from __future__ import annotations

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule
from groundplan.local.moto.shapes import input_shape, to_request


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
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(inputs.get("tags", {}).items())],
            "DefaultUserSettings": {
                "ExecutionRole": settings["executionRole"],
                "SecurityGroups": settings["securityGroups"],
            },
        },
    )
    return answer["DomainArn"].rpartition("/")[2], {"arn": answer["DomainArn"], "url": answer.get("Url", "")}


def _read_project(cloud: Cloud, inputs: Inputs, project: str) -> Inputs | None:
    found: list[Inputs] = cloud.call("codebuild", "BatchGetProjects", {"names": [project]})["projects"]
    # moto accepts a customer managed key, but reports AWS's key.
    return next(({key: value for key, value in item.items() if key != "encryptionKey"} for item in found), None)


def _read_target(cloud: Cloud, inputs: Inputs, target: str) -> Inputs | None:
    asked = {"ServiceNamespace": inputs["serviceNamespace"], "ResourceIds": [inputs["resourceId"]]}
    found: list[Inputs] = cloud.call("application-autoscaling", "DescribeScalableTargets", asked)["ScalableTargets"]
    return next((item for item in found if item["ScalableDimension"] == inputs["scalableDimension"]), None)


def _read_scaling(cloud: Cloud, inputs: Inputs, policy: str) -> Inputs | None:
    asked = {"ServiceNamespace": inputs["serviceNamespace"], "ResourceId": inputs["resourceId"]}
    found: list[Inputs] = cloud.call("application-autoscaling", "DescribeScalingPolicies", asked)["ScalingPolicies"]
    return next((item for item in found if item["PolicyName"] == inputs["name"]), None)


def _delete_repository(cloud: Cloud, inputs: Inputs, repository: str) -> None:
    """AWS refuses to delete one that contains images, unless it is forced."""
    cloud.call("ecr", "DeleteRepository", {"repositoryName": repository, "force": bool(inputs.get("forceDelete"))})


def _new_configuration(cloud: Cloud, inputs: Inputs, endpoint: str) -> None:
    cloud.call(
        "sagemaker", "UpdateEndpoint", {"EndpointName": endpoint, "EndpointConfigName": inputs["endpointConfigName"]}
    )


def _new_mutability(cloud: Cloud, inputs: Inputs, repository: str) -> None:
    cloud.call(
        "ecr",
        "PutImageTagMutability",
        {"repositoryName": repository, "imageTagMutability": inputs["imageTagMutability"]},
    )


def _new_definition(cloud: Cloud, inputs: Inputs, pipeline: str) -> None:
    wanted = {
        key: inputs[name]
        for key, name in (("PipelineDefinition", "pipelineDefinition"), ("PipelineDescription", "pipelineDescription"))
        if name in inputs
    }
    cloud.call(
        "sagemaker",
        "UpdatePipeline",
        {"PipelineName": pipeline, "PipelineDisplayName": inputs["pipelineDisplayName"], **wanted},
    )


def _function(cloud: Cloud, inputs: Inputs) -> Made:
    code = {"ImageUri": inputs["imageUri"]}
    apart = ("name", "imageUri", "timeout", "memorySize", "imageConfig", "tags", "publish")
    plain = {key: value for key, value in inputs.items() if key not in apart}
    asked = to_request(input_shape("lambda", "CreateFunction"), plain, inputs["name"])
    asked |= {"FunctionName": inputs["name"], "Code": code, "Tags": inputs.get("tags") or {}}
    asked |= {"Timeout": int(inputs.get("timeout", 3)), "MemorySize": int(inputs.get("memorySize", 128))}
    if image := inputs.get("imageConfig"):
        asked["ImageConfig"] = {"EntryPoint": image.get("entryPoints") or [], "Command": image.get("commands") or []}
    answer = cloud.call("lambda", "CreateFunction", asked)
    return inputs["name"], {"arn": answer["FunctionArn"], "version": "$LATEST"}


def _new_code(cloud: Cloud, inputs: Inputs, function: str) -> None:
    cloud.call("lambda", "UpdateFunctionCode", {"FunctionName": function, "ImageUri": inputs["imageUri"]})


def _new_settings(cloud: Cloud, inputs: Inputs, function: str) -> None:
    wanted = {"Timeout": int(inputs.get("timeout", 3)), "MemorySize": int(inputs.get("memorySize", 128))}
    plain = {key: inputs[key] for key in ("description", "environment", "role", "vpcConfig") if key in inputs}
    asked = to_request(input_shape("lambda", "UpdateFunctionConfiguration"), plain, inputs["name"])
    cloud.call("lambda", "UpdateFunctionConfiguration", {"FunctionName": function, **asked, **wanted})


def _read_function(cloud: Cloud, inputs: Inputs, function: str) -> Inputs:
    found: Inputs = cloud.call("lambda", "GetFunction", {"FunctionName": function})
    image = found["Configuration"].get("ImageConfigResponse", {}).get("ImageConfig", {})
    told = {"entryPoints": image.get("EntryPoint"), "commands": image.get("Command")}
    return {**found["Configuration"], "imageConfig": told, "imageUri": found["Code"].get("ImageUri")}


_SETTINGS = ("description", "environment", "memorySize", "role", "timeout", "vpcConfig")
_REQUEST_TOKEN = "groundplan-local-cloud-request-token"  # noqa: S105 (an idempotency token, 32 characters at least)

_SCALED = {
    "ServiceNamespace": "{inputs[serviceNamespace]}",
    "ResourceId": "{inputs[resourceId]}",
    "ScalableDimension": "{inputs[scalableDimension]}",
}

RULES: dict[str, Rule] = {
    "aws:ecr/repository:Repository": Rule(
        "ecr",
        "CreateRepository",
        rename={"name": "repositoryName", "encryptionConfigurations": "encryptionConfiguration", "forceDelete": None},
        id="{inputs[name]}",
        outputs={"arn": "{answer[repository][repositoryArn]}", "repositoryUrl": "{answer[repository][repositoryUri]}"},
        update={"imageTagMutability": _new_mutability, "forceDelete": lambda cloud, inputs, repository: None},
        read=("DescribeRepositories", {"repositoryNames": "{id}"}, "repositories[0]"),
        delete=_delete_repository,
    ),
    "aws:codebuild/project:Project": Rule(
        "codebuild",
        "CreateProject",
        rename={"buildTimeout": "timeoutInMinutes", "queuedTimeout": "queuedTimeoutInMinutes"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[project][arn]}"},
        delete=("DeleteProject", {"name": "{id}"}),
        replaceable=True,
        read=_read_project,
    ),
    "aws:sagemaker/model:Model": Rule(
        "sagemaker",
        "CreateModel",
        rename={"name": "ModelName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[ModelArn]}"},
        delete=("DeleteModel", {"ModelName": "{id}"}),
        replaceable=True,
        read=("DescribeModel", {"ModelName": "{id}"}, ""),
    ),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": Rule(
        "sagemaker",
        "CreateEndpointConfig",
        rename={"name": "EndpointConfigName", "kmsKeyArn": "KmsKeyId"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[EndpointConfigArn]}"},
        delete=("DeleteEndpointConfig", {"EndpointConfigName": "{id}"}),
        read=("DescribeEndpointConfig", {"EndpointConfigName": "{id}"}, ""),
    ),
    "aws:sagemaker/endpoint:Endpoint": Rule(
        "sagemaker",
        "CreateEndpoint",
        rename={"name": "EndpointName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[EndpointArn]}"},
        delete=("DeleteEndpoint", {"EndpointName": "{id}"}),
        update={"endpointConfigName": _new_configuration},
        read=("DescribeEndpoint", {"EndpointName": "{id}"}, ""),
    ),
    "aws:sagemaker/pipeline:Pipeline": Rule(
        "sagemaker",
        "CreatePipeline",
        id="{inputs[pipelineName]}",
        outputs={"arn": "{answer[PipelineArn]}"},
        delete=("DeletePipeline", {"PipelineName": "{id}", "ClientRequestToken": _REQUEST_TOKEN}),
        fixed={"ClientRequestToken": _REQUEST_TOKEN},
        replaceable=True,
        update=dict.fromkeys(("pipelineDefinition", "pipelineDescription", "pipelineDisplayName"), _new_definition),
        read=("DescribePipeline", {"PipelineName": "{id}"}, ""),
    ),
    "aws:appautoscaling/target:Target": Rule(
        "application-autoscaling",
        "RegisterScalableTarget",
        rename={"tags": None},
        id="{inputs[resourceId]}",
        outputs={"arn": "{answer[ScalableTargetARN]}"},
        idempotent=True,
        read=_read_target,
        delete=("DeregisterScalableTarget", _SCALED),
    ),
    "aws:appautoscaling/policy:Policy": Rule(
        "application-autoscaling",
        "PutScalingPolicy",
        rename={"name": "PolicyName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[PolicyARN]}"},
        idempotent=True,
        read=_read_scaling,
        delete=("DeleteScalingPolicy", {"PolicyName": "{inputs[name]}", **_SCALED}),
    ),
    "aws:lambda/function:Function": Rule(
        "lambda",
        make=_function,
        update={
            "imageUri": _new_code,
            **dict.fromkeys(_SETTINGS, _new_settings),
        },
        read=_read_function,
        delete=("DeleteFunction", {"FunctionName": "{id}"}),
    ),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Rule(
        "lambda",
        "PutFunctionEventInvokeConfig",
        id="{inputs[functionName]}",
        idempotent=True,
        read=("GetFunctionEventInvokeConfig", {"FunctionName": "{id}"}, ""),
        delete=("DeleteFunctionEventInvokeConfig", {"FunctionName": "{id}"}),
    ),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": Rule(
        "ecr",
        "SetRepositoryPolicy",
        rename={"repository": "repositoryName", "policy": "policyText"},
        id="{inputs[repository]}",
        idempotent=True,
        read=("GetRepositoryPolicy", {"repositoryName": "{id}"}, ""),
        delete=("DeleteRepositoryPolicy", {"repositoryName": "{id}"}),
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Rule(
        "ecr",
        "PutLifecyclePolicy",
        rename={"repository": "repositoryName", "policy": "lifecyclePolicyText"},
        id="{inputs[repository]}",
        idempotent=True,
        read=("GetLifecyclePolicy", {"repositoryName": "{id}"}, ""),
        delete=("DeleteLifecyclePolicy", {"repositoryName": "{id}"}),
    ),
    "aws:sagemaker/featureGroup:FeatureGroup": Rule(
        "sagemaker",
        "CreateFeatureGroup",
        rename={"recordIdentifierFeatureName": "RecordIdentifierFeatureName"},
        id="{inputs[featureGroupName]}",
        outputs={"arn": "{answer[FeatureGroupArn]}"},
        delete=("DeleteFeatureGroup", {"FeatureGroupName": "{id}"}),
        read=("DescribeFeatureGroup", {"FeatureGroupName": "{id}"}, ""),
    ),
    "aws:sagemaker/domain:Domain": Rule(
        "sagemaker",
        make=_domain,
        read=("DescribeDomain", {"DomainId": "{id}"}, ""),
        delete=("DeleteDomain", {"DomainId": "{id}"}),
    ),
    "aws:scheduler/scheduleGroup:ScheduleGroup": Rule(
        "scheduler",
        "CreateScheduleGroup",
        id="{inputs[name]}",
        outputs={"arn": "{answer[ScheduleGroupArn]}"},
        delete=("DeleteScheduleGroup", {"Name": "{id}"}),
        read=("GetScheduleGroup", {"Name": "{id}"}, ""),
    ),
    "aws:scheduler/schedule:Schedule": Rule(
        "scheduler",
        "CreateSchedule",
        id="{inputs[groupName]}/{inputs[name]}",
        outputs={"arn": "{answer[ScheduleArn]}"},
        delete=("DeleteSchedule", {"Name": "{inputs[name]}", "GroupName": "{inputs[groupName]}"}),
        replaceable=True,
        read=("GetSchedule", {"Name": "{inputs[name]}", "GroupName": "{inputs[groupName]}"}, ""),
    ),
    "aws:iot/roleAlias:RoleAlias": Rule(
        "iot",
        "CreateRoleAlias",
        rename={"alias": "roleAlias", "credentialDuration": "credentialDurationSeconds"},
        id="{inputs[alias]}",
        outputs={"arn": "{answer[roleAliasArn]}"},
        delete=("DeleteRoleAlias", {"roleAlias": "{id}"}),
        read=("DescribeRoleAlias", {"roleAlias": "{id}"}, "roleAliasDescription"),
    ),
    "aws:iot/policy:Policy": Rule(
        "iot",
        "CreatePolicy",
        rename={"name": "policyName", "policy": "policyDocument"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[policyArn]}"},
        delete=("DeletePolicy", {"policyName": "{id}"}),
        read=("GetPolicy", {"policyName": "{id}"}, ""),
    ),
}
