"""Functions, HTTP interfaces and workflows: who may call them, and what they tell of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from policies.control import Family, at, given, listed
from policies.documents import strangers_own
from policies.laws import LOGGING, REST, TRANSIT
from policies.stack import Item, Props, Stack

# Operations of a path in OpenAPI, and API Gateway's own; browsers' preflight requests carry no credentials.
_VERBS = frozenset(("get", "put", "post", "delete", "head", "patch", "trace", "x-amazon-apigateway-any-method"))
FUNCTIONS = Family("functions and interfaces", ("GDPR 32(1)(b)", "HIPAA 164.312(a)(1)", "SOC 2 CC6.6"))
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html#runtimes-deprecated, as of 2026-07
_ENDED = frozenset(
    (
        "nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x",
        "nodejs16.x", "nodejs18.x", "nodejs20.x", "python2.7", "python3.6", "python3.7", "python3.8", "python3.9",
        "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1", "dotnet5.0", "dotnet6", "dotnet7",
        "ruby2.5", "ruby2.7", "ruby3.2", "java8", "go1.x", "provided",
    )
)  # fmt: skip
# Services that act for whoever asks them, so that only the source tells whose request it is.
_FOR_OTHERS = frozenset(
    f"{name}.amazonaws.com"
    for name in ("s3", "sns", "events", "logs", "apigateway", "elasticloadbalancing", "cognito-idp", "config", "iot",
                 "ses", "codecommit", "cloudformation", "secretsmanager", "alexa-connectedhome", "scheduler")
)  # fmt: skip


@FUNCTIONS.resource(
    "lambda-not-public",
    "No permission lets everybody call a function",
    "aws:lambda/permission:Permission",
    severity="critical",
    fix="Name the account or the service in principal, or set principal_org_id.",
    risk="Anybody with an AWS account can run the function with its rights, and at the company's expense",
    rules=("FSBP Lambda.1",),
    url="https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html",
)
def function_not_public(props: Props) -> Iterator[str]:
    """A star needs an organization, or a URL that asks for IAM."""
    narrowed = any(given(props, key) for key in ("principalOrgId", "sourceAccount")) or _own_source(props)
    if props.get("principal") == "*" and not narrowed and props.get("functionUrlAuthType") != "AWS_IAM":
        yield "Everybody may call the function"


@FUNCTIONS.resource(
    "lambda-caller-named",
    "A service calls a function for the company only",
    "aws:lambda/permission:Permission",
    severity="medium",
    fix="Set source_arn to the bucket, topic, rule or interface that calls it, or source_account.",
    risk="Somebody else's bucket, topic or rule, in another account, can call the function through the same service",
    url="https://docs.aws.amazon.com/lambda/latest/dg/permissions-function-services.html",
)
def caller_named(props: Props) -> Iterator[str]:
    """Its source is named, for services that act for whoever asks them."""
    service = str(props.get("principal") or "")
    if service in _FOR_OTHERS and not given(props, "sourceAccount") and not _own_source(props):
        yield f"{service} may call it for any account"


def _own_source(props: Props) -> bool:
    """Whether its source is one that no stranger can have."""
    try:
        return given(props, "sourceArn") and not strangers_own(str(props["sourceArn"]))
    except UnknownValueError:
        return True  # the ARN of one resource


@FUNCTIONS.resource(
    "lambda-layer-not-public",
    "Layers are shared with named accounts",
    "aws:lambda/layerVersionPermission:LayerVersionPermission",
    severity="high",
    fix="Name the account in principal, or set organization_id.",
    risk="Anybody can download the code in the layer, with what is written into it",
    url="https://docs.aws.amazon.com/lambda/latest/dg/permissions-layer-cross-account.html",
)
def layer_not_public(props: Props) -> Iterator[str]:
    """Not everybody, unless of one organization."""
    if props.get("principal") == "*" and not given(props, "organizationId"):
        yield "Everybody may use and read the layer"


@FUNCTIONS.resource(
    "lambda-runtime-supported",
    "Functions run on a supported runtime",
    "aws:lambda/function:Function",
    severity="medium",
    fix="Choose a current runtime.",
    risk="Weaknesses of the language are no longer fixed, and AWS may refuse to update the function",
    law=("SOC 2 CC7.1", "HIPAA 164.308(a)(1)"),
    rules=("FSBP Lambda.2",),
    url="https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html",
)
def runtime_supported(props: Props) -> Iterator[str]:
    """Not one whose support has ended."""
    runtime = str(props.get("runtime") or "")
    if runtime in _ENDED:
        yield f"AWS no longer supports {runtime}"


@FUNCTIONS.resource(
    "function-url-origins",
    "A function's URL doesn't share its answers with every web page",
    "aws:lambda/functionUrl:FunctionUrl",
    severity="medium",
    fix="Name the pages in cors.allow_origins, or omit allow_credentials.",
    risk="Any web page that a signed-in user opens can call the function in the user's name",
    url="https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors",
)
def url_origins(props: Props) -> Iterator[str]:
    """Credentials together with any origin."""
    cors = at(props, "cors") or {}
    if cors.get("allowCredentials") is True and "*" in listed(cors.get("allowOrigins")):
        yield "Any page may send requests with the user's credentials"


@FUNCTIONS.each(
    "api-authorized",
    "Interfaces authenticate their callers",
    "aws:apigateway/method:Method",
    "aws:apigatewayv2/route:Route",
    "aws:apigateway/restApi:RestApi",
    "aws:apigatewayv2/api:Api",
    severity="high",
    fix="Set an authorization other than NONE (in a body: security); if it is meant for the public, waive this with the"
    " reason.",
    risk="Anyone on the internet can call the interface",
    rules=("FSBP APIGateway.8",),
    url="https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-control-access-to-api.html",
)
def api_authorized(item: Item, stack: Stack) -> Iterator[str]:
    """Browsers' preflight requests carry no credentials; a WebSocket's caller is asked at $connect only."""
    props = item.props
    if item.type == "aws:apigateway/restApi:RestApi":
        # A private one's policy says which networks reach it; whom another's policy lets in, other controls judge.
        if "PRIVATE" not in listed(at(props, "endpointConfiguration.types")) and not props.get("policy"):
            yield from _open_operations(str(props.get("body") or ""), rest=True)
        return
    if item.type == "aws:apigatewayv2/api:Api":
        if not _sockets(props):
            yield from _open_operations(str(props.get("body") or ""), rest=False)
        if props.get("target"):
            yield "Everybody may call what it was created for (target)"
        return
    if props.get("apiKeyRequired") is True:
        return
    if item.type == "aws:apigateway/method:Method":
        apis = stack.about(item, "restApi", "aws:apigateway/restApi:RestApi")
        if any("PRIVATE" in listed(at(api.props, "endpointConfiguration.types")) for api in apis):
            return  # its policy says which networks reach it
        if props.get("authorization") == "NONE" and props.get("httpMethod") != "OPTIONS":
            yield "Everybody may call it"
        return
    key = str(props.get("routeKey") or "")
    sockets = stack.about(item, "apiId", "aws:apigatewayv2/api:Api")
    if key.startswith("OPTIONS ") or (key != "$connect" and any(_sockets(api.props) for api in sockets)):
        return
    if props.get("authorizationType", "NONE") == "NONE":
        yield "Everybody may call it"


def _open_operations(body: str, *, rest: bool) -> Iterator[str]:
    """Operations of an OpenAPI document, in JSON or YAML, that demand nothing of their caller.

    REST APIs look at ``security`` of the operations alone, and know only their own authorizers and API keys.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
    """
    document = _read(body)
    if document.get("x-amazon-apigateway-policy"):
        return
    schemes = at(document, "components.securitySchemes") or document.get("securityDefinitions") or {}
    known = {name for name, scheme in schemes.items() if isinstance(scheme, dict) and _authorizes(scheme)}
    paths = document.get("paths")
    for path, operations in (paths if isinstance(paths, dict) else {}).items():
        if not str(path).startswith("/") or not isinstance(operations, dict):
            continue
        for verb, operation in operations.items():
            if str(verb).lower() not in _VERBS or not isinstance(operation, dict):
                continue
            asked = operation.get("security", None if rest else document.get("security"))
            # AWS's own way to demand a signature, outside of OpenAPI's; an empty alternative lets everybody in.
            signed = str(at(operation, "x-amazon-apigateway-auth.type") or "NONE").upper() != "NONE"
            if not signed and not (isinstance(asked, list) and asked and all(_known(one, known) for one in asked)):
                yield f"Everybody may call {'ANY' if str(verb).startswith('x-') else str(verb).upper()} {path}"


def _read(body: str) -> dict[str, Any]:
    """A document in JSON or YAML; empty where it is neither, which API Gateway refuses."""
    import yaml

    class Tolerant(yaml.SafeLoader):
        """Reads what templates of other tools have: tags such as ``!Sub``."""

    Tolerant.add_multi_constructor("!", lambda loader, suffix, node: getattr(node, "value", None))
    try:
        found = json.loads(body) if body.lstrip().startswith("{") else yaml.load(body, Tolerant)  # noqa: S506 (safe)
    except (ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _authorizes(scheme: dict[str, Any]) -> bool:
    """Whether API Gateway asks for what a security scheme describes."""
    key = (scheme.get("type"), scheme.get("in"), str(scheme.get("name")).lower()) == ("apiKey", "header", "x-api-key")
    return key or any(f"x-amazon-apigateway-{kind}" in scheme for kind in ("authorizer", "authtype"))


def _known(alternative: Any, known: set[str]) -> bool:
    return isinstance(alternative, dict) and bool(set(alternative) & known)


def _sockets(api: Props) -> bool:
    return api.get("protocolType") == "WEBSOCKET"


@FUNCTIONS.resource(
    "api-tls",
    "Domains of interfaces accept TLS 1.2 or newer",
    "aws:apigateway/domainName:DomainName",
    severity="high",
    fix="Set security_policy to TLS_1_2.",
    risk="Old versions of TLS can be broken, and what is sent can be read",
    law=TRANSIT,
    url="https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-custom-domain-tls-version.html",
)
def api_tls(props: Props) -> Iterator[str]:
    """REST interfaces still offer 1.0."""
    if props.get("securityPolicy") == "TLS_1_0":
        yield "It accepts TLS 1.0"


@FUNCTIONS.resource(
    "api-cache-encrypted",
    "Cached answers of interfaces are encrypted",
    "aws:apigateway/methodSettings:MethodSettings",
    severity="medium",
    fix="Set settings.cache_data_encrypted to True.",
    risk="Answers about people lie unencrypted in the cache",
    law=REST,
    rules=("FSBP APIGateway.5",),
    url="https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-caching.html",
)
def api_cache_encrypted(props: Props) -> Iterator[str]:
    """If there is a cache."""
    if at(props, "settings.cachingEnabled") is True and at(props, "settings.cacheDataEncrypted") is not True:
        yield "The cache is not encrypted"


@FUNCTIONS.each(
    "api-behind-firewall",
    "REST interfaces are behind a web application firewall",
    "aws:apigateway/stage:Stage",
    beside=("aws:wafv2/webAclAssociation:WebAclAssociation",),
    severity="low",
    fix="Create a wafv2 WebAclAssociation for the stage.",
    risk="Common attacks on web applications reach the program itself",
    rules=("FSBP APIGateway.4",),
    url="https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-control-access-aws-waf.html",
)
def api_behind_firewall(stage: Item, stack: Stack) -> Iterator[str]:
    """An association about the stage."""
    if not stack.companions(stage, "aws:wafv2/webAclAssociation:WebAclAssociation", "resourceArn"):
        yield "Nothing filters its requests"


@FUNCTIONS.resource(
    "workflow-logged",
    "Workflows log",
    "aws:sfn/stateMachine:StateMachine",
    severity="medium",
    fix="Set logging_configuration with a log_destination and a level other than OFF.",
    risk="Nobody can reconstruct what a run did, or why it failed",
    law=LOGGING,
    rules=("FSBP StepFunctions.1",),
    url="https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
)
def workflow_logged(props: Props) -> Iterator[str]:
    """A level other than OFF."""
    if at(props, "loggingConfiguration.level") in (None, "OFF"):
        yield "It does not log"


@FUNCTIONS.resource(
    "graphql-logged",
    "GraphQL interfaces log",
    "aws:appsync/graphQLApi:GraphQLApi",
    severity="medium",
    fix="Set log_config with field_log_level ERROR or ALL.",
    risk="Nobody can find out who read which data",
    law=LOGGING,
    rules=("FSBP AppSync.2",),
    url="https://docs.aws.amazon.com/appsync/latest/devguide/monitoring.html",
)
def graphql_logged(props: Props) -> Iterator[str]:
    """A level other than NONE."""
    if at(props, "logConfig.fieldLogLevel") in (None, "NONE"):
        yield "It does not log requests"


@FUNCTIONS.resource(
    "graphql-authorized",
    "GraphQL interfaces authenticate by more than a shared key",
    "aws:appsync/graphQLApi:GraphQLApi",
    severity="high",
    fix="Set authentication_type to AWS_IAM, AMAZON_COGNITO_USER_POOLS, OPENID_CONNECT or AWS_LAMBDA.",
    risk="Whoever finds the key, which every client carries, can read and change the data",
    rules=("FSBP AppSync.5",),
    url="https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html",
)
def graphql_authorized(props: Props) -> Iterator[str]:
    """Not a key."""
    if props.get("authenticationType") == "API_KEY":
        yield "A key that all clients share is enough"


@FUNCTIONS.resource(
    "identity-pool-known-users",
    "Identity pools give credentials to signed-in users only",
    "aws:cognito/identityPool:IdentityPool",
    severity="medium",
    fix="Set allow_unauthenticated_identities to False.",
    risk="Anyone on the internet gets AWS credentials of the role for guests",
    rules=("FSBP Cognito.2",),
    url="https://docs.aws.amazon.com/cognito/latest/developerguide/identity-pools.html",
)
def known_users(props: Props) -> Iterator[str]:
    """No guests."""
    if props.get("allowUnauthenticatedIdentities") is True:
        yield "Guests get credentials"


@FUNCTIONS.resource(
    "user-pool-second-factor",
    "Users can protect their accounts by a second factor",
    "aws:cognito/userPool:UserPool",
    severity="medium",
    fix="Set mfa_configuration to ON or OPTIONAL.",
    risk="A stolen password is enough to act as the user",
    law=("GDPR 32(1)(b)", "HIPAA 164.312(d)", "SOC 2 CC6.1"),
    url="https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-settings-mfa.html",
)
def second_factor(props: Props) -> Iterator[str]:
    """Not off, which is the default."""
    if props.get("mfaConfiguration") in (None, "OFF"):
        yield "There is no second factor"
