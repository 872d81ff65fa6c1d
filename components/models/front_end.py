"""What a web page calls: API Gateway before the endpoints, a sign-in for people, a firewall, a cache on request."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between, LogRetention
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, own_service_trust
from components.models.front_end_api import Called, definition, routes

STAGE = "live"
SIGN_IN_MINUTES, STAY_DAYS = 60, 1
# The firewall counts each address over five minutes, and AWS allows no limit below 10.
WINDOW_SECONDS, LEAST_PER_WINDOW = 300, 1000
_MANAGED_RULES = ("AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet")
_OF_BODIES = (
    "CrossSiteScripting_BODY",
    "EC2MetaDataSSRF_BODY",
    "GenericLFI_BODY",
    "GenericRFI_BODY",
    "SizeRestrictions_BODY",
)
# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html: an account's requests at once in a region
MOST_AT_ONCE = 5_000
_LOGGED = (
    '{"time":"$context.requestTime","request":"$context.requestId","who":"$context.authorizer.claims.sub",'
    '"from":"$context.identity.sourceIp","method":"$context.httpMethod","path":"$context.resourcePath",'
    '"status":"$context.status","milliseconds":"$context.responseLatency","bytes":"$context.responseLength"}'
)


@dataclass(frozen=True, kw_only=True)
class FrontEndArgs(Args):
    """Args:
    origin: Of the page that may call, and that the sign-in leads back to.
    cache_gb: Size of the cache for answers by key; empty for none.
    cache_seconds: For how long it keeps them.
    log_key_arn: Encrypts the logs of who called.
    keeps_account: Whether this stack sets the role by which the account's interfaces write logs.
    """

    origin: str
    models: dict[str, Called]
    cache_gb: str
    cache_seconds: Annotated[int, Between(0, 3600, "seconds", "API Gateway")]
    log_key_arn: pulumi.Input[str]
    log_retention_days: LogRetention
    keeps_account: bool


class FrontEnd(Component):
    """One interface for all models that pages call.

    Whoever is in the user pool may call it. Its sign-in is OpenID Connect's authorization code flow with PKCE
    (RFC 7636): the page has no secret, and sends the identity token with each request.

    Attributes:
        url: Address of the interface.
        user_pool_id, client_id: Of the sign-in.
        issuer: Of the tokens; its OpenID configuration is below it.
        sign_in: Address of the sign-in's pages.
    """

    def __init__(self, name: str, scope: Scope, args: FrontEndArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._tags = scope.tags("front-end")
        pool, client = self._sign_in(name, args)
        role = make_role(
            self,
            name,
            own_service_trust("apigateway.amazonaws.com"),
            [
                Statement(
                    ("sagemaker:InvokeEndpoint",),
                    tuple(
                        f"arn:aws:sagemaker:{scope.region}:{scope.account_id}:endpoint/{model.endpoint}"
                        for model in args.models.values()
                    ),
                )
            ],
            purpose="front-end",
        )
        document = pulumi.Output.json_dumps(
            definition(
                scope.name("front-end"),
                args.models,
                args.origin,
                scope.region,
                role.arn,
                pool.arn,
                cached=bool(args.cache_gb),
            ),
            sort_keys=True,
        )
        api = aws.apigateway.RestApi(
            name,
            name=scope.name("front-end"),
            description="Predictions and explanations for signed-in people",
            body=document,
            put_rest_api_mode="overwrite",
            endpoint_configuration={"types": "REGIONAL"},
            tags=self._tags,
            opts=self.child(),
        )
        deployed = aws.apigateway.Deployment(
            name,
            rest_api=api.id,
            triggers={"definition": document.apply(lambda text: hashlib.sha256(text.encode()).hexdigest())},
            opts=self.child(),
        )
        stage = self._stage(name, args, api, deployed)
        self._firewall(name, args, stage)
        self.url = pulumi.Output.concat("https://", api.id, f".execute-api.{scope.region}.amazonaws.com/{STAGE}")
        self.user_pool_id, self.client_id = pool.id, client.id
        self.issuer = pulumi.Output.concat(f"https://cognito-idp.{scope.region}.amazonaws.com/", pool.id)
        self.register_outputs({"url": self.url, "user_pool_id": pool.id, "client_id": client.id})

    def _sign_in(self, name: str, args: FrontEndArgs) -> tuple[aws.cognito.UserPool, aws.cognito.UserPoolClient]:
        scope = self.scope
        pool = aws.cognito.UserPool(
            name,
            name=scope.name("front-end", limit=128),
            username_attributes=["email"],
            auto_verified_attributes=["email"],
            admin_create_user_config={"allow_admin_create_user_only": True},  # nobody signs up by themselves
            account_recovery_setting={"recovery_mechanisms": [{"name": "verified_email", "priority": 1}]},
            password_policy={
                "minimum_length": 14,
                "require_lowercase": True,
                "require_uppercase": True,
                "require_numbers": True,
                "require_symbols": True,
                "temporary_password_validity_days": 3,
            },
            mfa_configuration="ON" if scope.protect else "OPTIONAL",
            software_token_mfa_configuration={"enabled": True},
            deletion_protection="ACTIVE" if scope.protect else "INACTIVE",
            user_pool_tier="ESSENTIALS",
            tags=self._tags,
            opts=self.child(holds_data=True),
        )
        # Prefixes are unique in a region, whatever the account, and can't contain names of AWS's own.
        unique = hashlib.sha256(f"{scope.account_id}-{scope.name()}".encode()).hexdigest()[:12]
        domain = aws.cognito.UserPoolDomain(name, domain=f"sign-in-{unique}", user_pool_id=pool.id, opts=self.child())
        self.sign_in = pulumi.Output.concat("https://", domain.domain, f".auth.{scope.region}.amazoncognito.com")
        back = [f"{args.origin}/"]
        client = aws.cognito.UserPoolClient(
            name,
            name=scope.name("front-end", limit=128),
            user_pool_id=pool.id,
            generate_secret=False,  # a page can't keep one
            allowed_oauth_flows_user_pool_client=True,
            allowed_oauth_flows=["code"],
            allowed_oauth_scopes=["openid", "email"],
            supported_identity_providers=["COGNITO"],
            callback_urls=back,
            logout_urls=back,
            explicit_auth_flows=["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            prevent_user_existence_errors="ENABLED",
            enable_token_revocation=True,
            id_token_validity=SIGN_IN_MINUTES,
            access_token_validity=SIGN_IN_MINUTES,
            refresh_token_validity=STAY_DAYS,
            token_validity_units={"id_token": "minutes", "access_token": "minutes", "refresh_token": "days"},
            opts=self.child(),
        )
        return pool, client

    def _log(self, name: str, physical: pulumi.Input[str], args: FrontEndArgs) -> aws.cloudwatch.LogGroup:
        return aws.cloudwatch.LogGroup(
            name,
            name=physical,
            retention_in_days=args.log_retention_days,
            kms_key_id=args.log_key_arn,
            tags=self._tags,
            opts=self.child(),
        )

    def _stage(
        self, name: str, args: FrontEndArgs, api: aws.apigateway.RestApi, deployed: aws.apigateway.Deployment
    ) -> aws.apigateway.Stage:
        scope = self.scope
        logs = self._log(f"{name}-logs", f"/{scope.project}/{scope.stack}/front-end", args)
        account: list[pulumi.Resource] = []
        if args.keeps_account:
            writer = make_role(
                self,
                f"{name}-logs",
                own_service_trust("apigateway.amazonaws.com"),
                purpose="front-end-logs",
                managed=("arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs",),
            )
            account.append(
                aws.apigateway.Account(
                    name, cloudwatch_role_arn=writer.arn, opts=self.child(depends_on=writer.policies)
                )
            )
        # API Gateway would make it by itself, without a key, and keep it for ever.
        errors = self._log(
            f"{name}-errors", pulumi.Output.concat("API-Gateway-Execution-Logs_", api.id, f"/{STAGE}"), args
        )
        stage = aws.apigateway.Stage(
            name,
            rest_api=api.id,
            deployment=deployed.id,
            stage_name=STAGE,
            access_log_settings={"destination_arn": logs.arn, "format": _LOGGED},
            xray_tracing_enabled=True,
            cache_cluster_enabled=bool(args.cache_gb),
            cache_cluster_size=args.cache_gb or None,
            tags=self._tags,
            opts=self.child(depends_on=[*account, errors]),
        )
        whole = sum(model.peak for model in args.models.values())
        limits: dict[str, tuple[float, bool]] = {"*/*": (whole, False)}
        for model_name, model in args.models.items():
            for path, method, _, by_key in routes(model_name, model):
                kept = bool(args.cache_gb) and by_key
                limits[f"{path.replace('/', '~1')}/{method}"] = (model.peak, kept)
        kept_for = {
            "caching_enabled": True,
            "cache_ttl_in_seconds": args.cache_seconds,
            "cache_data_encrypted": True,
            # A browser that reloads a page must not empty everybody's cache.
            "require_authorization_for_cache_control": True,
            "unauthorized_cache_control_header_strategy": "SUCCEED_WITHOUT_RESPONSE_HEADER",
        }
        first: list[pulumi.Resource] = []
        for path, (rate, kept) in limits.items():
            made = aws.apigateway.MethodSettings(
                name if path == "*/*" else f"{name}{path.replace('~1', '-').replace('{key}', 'key').replace('/', '-')}",
                rest_api=api.id,
                stage_name=stage.stage_name,
                method_path=path,
                settings={
                    "throttling_rate_limit": rate,
                    "throttling_burst_limit": burst(rate),
                    "metrics_enabled": True,
                    "logging_level": "ERROR",
                    "data_trace_enabled": False,  # requests are data about people
                    **(kept_for if kept else {}),
                },
                # Those of all methods come first: set later, they would win.
                opts=self.child(depends_on=first),
            )
            first = first or [made]
        return stage

    def _firewall(self, name: str, args: FrontEndArgs, stage: aws.apigateway.Stage) -> None:
        scope = self.scope
        peak = sum(model.peak for model in args.models.values())
        rules: list[dict[str, Any]] = [
            {
                "name": group,
                "priority": number,
                "override_action": {"none": {}},
                "statement": {
                    "managed_rule_group_statement": {
                        "vendor_name": "AWS",
                        "name": group,
                        # Bodies are rows of data, longer than 8 kB, with any text; the model's server judges them.
                        "rule_action_overrides": (
                            [{"name": rule, "action_to_use": {"count": {}}} for rule in _OF_BODIES]
                            if number == 0
                            else None
                        ),
                    }
                },
                "visibility_config": _watched(group),
            }
            for number, group in enumerate(_MANAGED_RULES)
        ]
        rules.append(
            {
                "name": "rate",
                "priority": len(_MANAGED_RULES),
                "action": {"block": {}},
                "statement": {
                    "rate_based_statement": {
                        "aggregate_key_type": "IP",
                        "limit": max(LEAST_PER_WINDOW, math.ceil(peak * WINDOW_SECONDS)),
                    }
                },
                "visibility_config": _watched("rate"),
            }
        )
        acl = aws.wafv2.WebAcl(
            name,
            name=scope.name("front-end", limit=128),
            scope="REGIONAL",
            default_action={"allow": {}},
            rules=rules,
            visibility_config=_watched("front-end"),
            tags=self._tags,
            opts=self.child(),
        )
        aws.wafv2.WebAclAssociation(name, resource_arn=stage.arn, web_acl_arn=acl.arn, opts=self.child())
        logs = self._log(
            f"{name}-firewall-logs", f"aws-waf-logs-{scope.name('front-end')}", args
        )  # WAF demands the prefix
        aws.wafv2.WebAclLoggingConfiguration(
            name,
            resource_arn=acl.arn,
            log_destination_configs=[logs.arn],
            redacted_fields=[{"single_header": {"name": "authorization"}}],
            opts=self.child(),
        )


def burst(rate: float) -> int:
    """Requests that may arrive at once: those of two seconds; at least ten, as a page asks for, and no more than an
    account may have.
    """
    return min(MOST_AT_ONCE, max(10, math.ceil(2 * rate)))


def _watched(name: str) -> dict[str, Any]:
    """Counted, without samples: they would show people's tokens."""
    return {"cloudwatch_metrics_enabled": True, "metric_name": name, "sampled_requests_enabled": False}
