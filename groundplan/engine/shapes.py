"""Values in the form that AWS gives them, for what only a deployment can tell: programs take them apart."""

from __future__ import annotations

import base64
import re
from typing import Any

ID = "0a1b2c3d4e5f67890"
_CERTIFICATE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()
# What follows an ARN's account, of resources whose ARN is more than service and name.
_ARNS = {
    "lb": "elasticloadbalancing:{region}:{account}:loadbalancer/app/{name}/50dc6c495c0c9188",
    "alb": "elasticloadbalancing:{region}:{account}:loadbalancer/app/{name}/50dc6c495c0c9188",
    "s3": "s3:::{name}",
    "iam": "iam::{account}:role/{name}",
    "acm": "acm:{region}:{account}:certificate/11111111-2222-3333-4444-555555555555",
    "ecs": "ecs:{region}:{account}:cluster/{name}",
    "ec2": "ec2:{region}:{account}:vpc/vpc-" + ID,
    "kms": "kms:{region}:{account}:key/11111111-2222-3333-4444-555555555555",
    "lambda": "lambda:{region}:{account}:function:{name}",
    "sfn": "states:{region}:{account}:stateMachine:{name}",
    "cloudwatch": "logs:{region}:{account}:log-group:{name}",
}
_NUMBERED = ("nameservers", "zoneids", "ipaddresses", "subnetids", "ids", "names", "availabilityzones")


def shaped(service: str, key: str, name: str, region: str, account: str) -> str:
    """A text for an output.

    Args:
        service: Module of the type in the provider's package, for example ``rds``.
        key: The output's name, camel case.
    """
    low = key.lower()
    if low in ("region", "awsregion"):
        return region
    if low in ("accountid", "ownerid", "registryid", "account"):
        return account
    if low.endswith("arn"):
        form = _ARNS.get(service, f"{service}:{{region}}:{{account}}:{{name}}")
        return f"arn:aws:{form.format(region=region, account=account, name=name)}"
    if low.endswith("ipv6cidrblock"):
        return "2001:db8:1234:1a00::/56"
    if low.endswith(("cidrblock", "cidr")):
        return "10.0.0.0/16"
    if low.endswith(("publicip", "elasticip")):
        return "203.0.113.10"
    if low.endswith(("privateip", "ipaddress", "ip")):
        return "10.0.0.10"
    if low == "nameservers":
        return "ns-1.awsdns-01.org"
    if low.startswith("bootstrapbrokers"):
        port = 9098 if "iam" in low else 9096 if "scram" in low else 9094 if "tls" in low else 9092
        return ",".join(f"b-{n}.{name}.abcdef.c2.kafka.{region}.amazonaws.com:{port}" for n in (1, 2, 3))
    if low == "data":  # of a cluster's certificate authority
        return _CERTIFICATE
    if low in ("issuer", "openidconnectissuerurl"):
        return f"https://oidc.eks.{region}.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
    if low == "authorizationtoken":
        return base64.b64encode(b"AWS:token").decode()
    if low.endswith(("endpoint", "url", "uri", "domainname", "dnsname", "address")):
        return _address(service, low, name, region)
    return f"{name}-{key}"


def _address(service: str, key: str, name: str, region: str) -> str:
    host = f"{name}.{service}.{region}.amazonaws.com"
    if service in ("rds", "docdb", "neptune", "redshift", "elasticache", "memorydb") and key.endswith("endpoint"):
        ports = {"rds": 5432, "docdb": 27017, "neptune": 8182, "redshift": 5439}
        return f"{host}:{ports.get(service, 6379)}"
    if service == "ecr" and key == "repositoryurl":
        return f"123456789012.dkr.ecr.{region}.amazonaws.com/{name}"
    if key == "functionurl":
        return f"https://abcdefghijkl.lambda-url.{region}.on.aws/"
    if service in ("apigateway", "apigatewayv2", "eks", "appsync") or (key.endswith("url") and service != "sqs"):
        return f"https://{host}"
    if service == "sqs":
        return f"https://sqs.{region}.amazonaws.com/123456789012/{name}"
    return host


def listed(key: str, one: Any) -> list[Any]:
    """A list of an output's values: as many as programs usually count on, where AWS gives several."""
    if key.lower() == "nameservers":
        return [f"ns-{n}.awsdns-0{n}.{end}" for n, end in enumerate(("org", "com", "net", "co.uk"), 1)]
    if isinstance(one, str) and re.fullmatch("|".join(_NUMBERED), key.lower()):
        return [one, f"{one}-2", f"{one}-3"]
    return [one]
