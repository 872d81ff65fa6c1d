"""Interfaces for web pages: API Gateway's REST APIs, Cognito's sign-in, the firewall."""

from __future__ import annotations

from typing import Any

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule
from groundplan.local.moto.shapes import input_shape, to_request

# Pulumi's settings of a method, and where UpdateStage has them:
# https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html#UpdateStage-Patch
_SETTINGS = {
    "metricsEnabled": "metrics/enabled",
    "loggingLevel": "logging/loglevel",
    "dataTraceEnabled": "logging/dataTrace",
    "throttlingBurstLimit": "throttling/burstLimit",
    "throttlingRateLimit": "throttling/rateLimit",
    "cachingEnabled": "caching/enabled",
    "cacheTtlInSeconds": "caching/ttlInSeconds",
    "cacheDataEncrypted": "caching/dataEncrypted",
    "requireAuthorizationForCacheControl": "caching/requireAuthorizationForCacheControl",
    "unauthorizedCacheControlHeaderStrategy": "caching/unauthorizedCacheControlHeaderStrategy",
}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _rest_api(cloud: Cloud, inputs: Inputs) -> Made:
    kinds = inputs.get("endpointConfiguration", {}).get("types", "EDGE")
    asked: dict[str, Any] = {
        "name": inputs["name"],
        "endpointConfiguration": {"types": [kinds] if isinstance(kinds, str) else kinds},
        **{key: inputs[key] for key in ("description", "binaryMediaTypes", "policy", "tags") if key in inputs},
    }
    answer = cloud.call("apigateway", "CreateRestApi", asked)
    api = answer["id"]
    if "body" in inputs:
        _put_body(cloud, inputs, api)
    return api, {
        "arn": f"arn:aws:apigateway:{cloud.region}::/restapis/{api}",
        "executionArn": cloud.arn("execute-api", api),
        "rootResourceId": answer.get("rootResourceId", ""),
    }


def _put_body(cloud: Cloud, inputs: Inputs, api: str) -> None:
    mode = inputs.get("putRestApiMode", "overwrite")
    cloud.call("apigateway", "PutRestApi", {"restApiId": api, "mode": mode, "body": inputs["body"].encode()})


def _stage(cloud: Cloud, inputs: Inputs) -> Made:
    api, name = inputs["restApi"], inputs["stageName"]
    asked: dict[str, Any] = {
        "restApiId": api,
        "stageName": name,
        "deploymentId": inputs["deployment"],
        **{
            key: inputs[key]
            for key in ("description", "variables", "cacheClusterEnabled", "cacheClusterSize", "tags")
            if key in inputs
        },
    }
    if "xrayTracingEnabled" in inputs:
        asked["tracingEnabled"] = inputs["xrayTracingEnabled"]
    cloud.call("apigateway", "CreateStage", asked)
    _access_log(cloud, inputs, name)
    return f"ags-{api}-{name}", {
        "arn": f"arn:aws:apigateway:{cloud.region}::/restapis/{api}/stages/{name}",
        "executionArn": cloud.arn("execute-api", f"{api}/{name}"),
        "invokeUrl": f"https://{api}.execute-api.{cloud.region}.amazonaws.com/{name}",
    }


def _change_stage(cloud: Cloud, inputs: Inputs, changes: dict[str, Any]) -> None:
    operations = [{"op": "replace", "path": path, "value": _text(value)} for path, value in changes.items()]
    cloud.call(
        "apigateway",
        "UpdateStage",
        {"restApiId": inputs["restApi"], "stageName": inputs["stageName"], "patchOperations": operations},
    )


def _access_log(cloud: Cloud, inputs: Inputs, stage: str) -> None:
    if given := inputs.get("accessLogSettings"):
        _change_stage(cloud, inputs, {f"/accessLogSettings/{key}": value for key, value in given.items()})


def _new_cache(cloud: Cloud, inputs: Inputs, stage: str) -> None:
    given = {key: inputs[key] for key in ("cacheClusterEnabled", "cacheClusterSize") if key in inputs}
    _change_stage(cloud, inputs, {f"/{key}": value for key, value in given.items()})


def _new_deployment(cloud: Cloud, inputs: Inputs, stage: str) -> None:
    _change_stage(cloud, inputs, {"/deploymentId": inputs["deployment"]})


def _method_settings(cloud: Cloud, inputs: Inputs) -> Made:
    path = inputs["methodPath"]
    changes = {f"/{path}/{_SETTINGS[key]}": value for key, value in inputs["settings"].items() if value is not None}
    _change_stage(cloud, inputs, changes)
    return f"{inputs['restApi']}-{inputs['stageName']}-{path}", {}


def _account(cloud: Cloud, inputs: Inputs) -> Made:
    role = inputs.get("cloudwatchRoleArn", "")
    change = {"op": "replace", "path": "/cloudwatchRoleArn", "value": role}
    cloud.call("apigateway", "UpdateAccount", {"patchOperations": [change]})
    return "api-gateway-account", {}


def _read_stage(cloud: Cloud, inputs: Inputs, stage: str) -> Inputs:
    found = cloud.call("apigateway", "GetStage", {"restApiId": inputs["restApi"], "stageName": inputs["stageName"]})
    return {"deployment": found["deploymentId"], **found}


def _read_deployment(cloud: Cloud, inputs: Inputs, deployment: str) -> Inputs | None:
    # moto fails, instead of saying so, where a single one is gone.
    found: list[Inputs] = cloud.call("apigateway", "GetDeployments", {"restApiId": inputs["restApi"]})["items"]
    return next((item for item in found if item["id"] == deployment), None)


def _read_settings(cloud: Cloud, inputs: Inputs, path: str) -> Inputs | None:
    settings = _read_stage(cloud, inputs, "")["methodSettings"].get(inputs["methodPath"])
    return None if settings is None else {"settings": settings}


def _user_pool(cloud: Cloud, inputs: Inputs) -> Made:
    apart = ("name", "passwordPolicy", "softwareTokenMfaConfiguration", "tags")
    plain = {key: value for key, value in inputs.items() if key not in apart}
    asked = to_request(input_shape("cognito-idp", "CreateUserPool"), plain, inputs["name"])
    asked |= {"PoolName": inputs["name"], "UserPoolTags": inputs.get("tags") or {}}
    if policy := inputs.get("passwordPolicy"):
        shape = input_shape("cognito-idp", "CreateUserPool").members["Policies"]
        asked["Policies"] = to_request(shape, {"passwordPolicy": policy}, inputs["name"])
    pool = cloud.call("cognito-idp", "CreateUserPool", asked)["UserPool"]
    if token := inputs.get("softwareTokenMfaConfiguration"):
        factors = {
            "UserPoolId": pool["Id"],
            "SoftwareTokenMfaConfiguration": {"Enabled": token["enabled"]},
            "MfaConfiguration": inputs.get("mfaConfiguration", "OFF"),
        }
        cloud.call("cognito-idp", "SetUserPoolMfaConfig", factors)
    return pool["Id"], {
        "arn": cloud.arn("cognito-idp", f"userpool/{pool['Id']}"),
        "endpoint": f"cognito-idp.{cloud.region}.amazonaws.com/{pool['Id']}",
    }


def _new_client(cloud: Cloud, inputs: Inputs, client: str) -> None:
    plain = {key: value for key, value in inputs.items() if key not in ("name", "generateSecret")}
    asked = to_request(input_shape("cognito-idp", "UpdateUserPoolClient"), plain, inputs["name"])
    cloud.call("cognito-idp", "UpdateUserPoolClient", {**asked, "ClientId": client, "ClientName": inputs["name"]})


def _acl(inputs: Inputs, acl: str) -> Inputs:
    """What every operation names a firewall by."""
    return {"Name": inputs["name"], "Scope": inputs["scope"], "Id": acl}


def _locked(cloud: Cloud, inputs: Inputs, acl: str) -> Inputs:
    """The same, for operations that must know of every change before them."""
    asked = _acl(inputs, acl)
    return {**asked, "LockToken": cloud.call("wafv2", "GetWebACL", asked)["LockToken"]}


def _read_acl(cloud: Cloud, inputs: Inputs, acl: str) -> Inputs | None:
    found: Inputs = cloud.call("wafv2", "GetWebACL", _acl(inputs, acl))["WebACL"]
    return found


def _delete_acl(cloud: Cloud, inputs: Inputs, acl: str) -> None:
    cloud.call("wafv2", "DeleteWebACL", _locked(cloud, inputs, acl))


def _new_rules(cloud: Cloud, inputs: Inputs, acl: str) -> None:
    plain = {key: value for key, value in inputs.items() if key not in ("name", "scope", "tags")}
    request = to_request(input_shape("wafv2", "UpdateWebACL"), plain, inputs["name"])
    cloud.call("wafv2", "UpdateWebACL", {**request, **_locked(cloud, inputs, acl)})


def _firewall_log(cloud: Cloud, inputs: Inputs) -> Made:
    shape = input_shape("wafv2", "PutLoggingConfiguration")
    asked = to_request(shape, {"loggingConfiguration": inputs}, inputs["resourceArn"])
    cloud.call("wafv2", "PutLoggingConfiguration", asked)
    return inputs["resourceArn"], {}


RULES: dict[str, Rule] = {
    "aws:apigateway/restApi:RestApi": Rule(
        "apigateway",
        make=_rest_api,
        update={"body": _put_body, "putRestApiMode": lambda cloud, inputs, api: None},
        read=("GetRestApi", {"restApiId": "{id}"}, ""),
        delete=("DeleteRestApi", {"restApiId": "{id}"}),
    ),
    # What is deployed here is what was put last, so another deployment changes nothing.
    "aws:apigateway/deployment:Deployment": Rule(
        "apigateway",
        "CreateDeployment",
        rename={"restApi": "restApiId", "triggers": None},
        id="{answer[id]}",
        update={"triggers": lambda cloud, inputs, deployment: None},
        read=_read_deployment,
        delete=("DeleteDeployment", {"restApiId": "{inputs[restApi]}", "deploymentId": "{id}"}),
    ),
    "aws:apigateway/stage:Stage": Rule(
        "apigateway",
        make=_stage,
        update={
            "accessLogSettings": _access_log,
            "cacheClusterEnabled": _new_cache,
            "cacheClusterSize": _new_cache,
            "deployment": _new_deployment,
        },
        read=_read_stage,
        delete=("DeleteStage", {"restApiId": "{inputs[restApi]}", "stageName": "{inputs[stageName]}"}),
    ),
    "aws:apigateway/methodSettings:MethodSettings": Rule(
        "apigateway", make=_method_settings, idempotent=True, read=_read_settings
    ),
    "aws:apigateway/account:Account": Rule("apigateway", make=_account, idempotent=True, read=("GetAccount", {}, "")),
    "aws:cognito/userPool:UserPool": Rule(
        "cognito-idp",
        make=_user_pool,
        read=("DescribeUserPool", {"UserPoolId": "{id}"}, "UserPool"),
        delete=("DeleteUserPool", {"UserPoolId": "{id}"}),
    ),
    "aws:cognito/userPoolDomain:UserPoolDomain": Rule(
        "cognito-idp",
        "CreateUserPoolDomain",
        id="{inputs[domain]}",
        read=("DescribeUserPoolDomain", {"Domain": "{id}"}, "DomainDescription.UserPoolId && DomainDescription"),
        delete=("DeleteUserPoolDomain", {"Domain": "{id}", "UserPoolId": "{inputs[userPoolId]}"}),
    ),
    "aws:cognito/userPoolClient:UserPoolClient": Rule(
        "cognito-idp",
        "CreateUserPoolClient",
        rename={"name": "ClientName"},
        id="{answer[UserPoolClient][ClientId]}",
        update=dict.fromkeys(
            (
                "accessTokenValidity",
                "allowedOauthFlows",
                "allowedOauthScopes",
                "callbackUrls",
                "explicitAuthFlows",
                "idTokenValidity",
                "logoutUrls",
                "refreshTokenValidity",
                "tokenValidityUnits",
            ),
            _new_client,
        ),
        read=(
            "DescribeUserPoolClient",
            {"ClientId": "{id}", "UserPoolId": "{inputs[userPoolId]}"},
            "UserPoolClient",
        ),
        delete=("DeleteUserPoolClient", {"ClientId": "{id}", "UserPoolId": "{inputs[userPoolId]}"}),
    ),
    "aws:wafv2/webAcl:WebAcl": Rule(
        "wafv2",
        "CreateWebACL",
        id="{answer[Summary][Id]}",
        outputs={"arn": "{answer[Summary][ARN]}"},
        update=dict.fromkeys(("rules", "defaultAction", "visibilityConfig", "description"), _new_rules),
        read=_read_acl,
        delete=_delete_acl,
    ),
    "aws:wafv2/webAclAssociation:WebAclAssociation": Rule(
        "wafv2",
        "AssociateWebACL",
        id="{inputs[webAclArn]},{inputs[resourceArn]}",
        read=("GetWebACLForResource", {"ResourceArn": "{inputs[resourceArn]}"}, "WebACL"),
        delete=("DisassociateWebACL", {"ResourceArn": "{inputs[resourceArn]}"}),
    ),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": Rule(
        "wafv2",
        make=_firewall_log,
        idempotent=True,
        read=("GetLoggingConfiguration", {"ResourceArn": "{inputs[resourceArn]}"}, "LoggingConfiguration"),
        delete=("DeleteLoggingConfiguration", {"ResourceArn": "{inputs[resourceArn]}"}),
    ),
}
