"""What faces the public's browsers: content delivery, load balancers, web application firewalls, certificates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policies.control import Family, at, given, listed
from policies.laws import LOGGING, NETWORK, TRANSIT
from policies.stack import Item, Props, Stack

WEB = Family("public web", NETWORK)
DISTRIBUTION, BALANCER = "aws:cloudfront/distribution:Distribution", "aws:lb/loadBalancer:LoadBalancer"
_WEBSITE = re.compile(r"\.s3-website[.-]")  # S3's website endpoints speak HTTP only
_CLOUDFRONT = "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide"
_ELB = "https://docs.aws.amazon.com/elasticloadbalancing/latest"


def _origins(props: Props) -> list[Any]:
    return listed(props.get("origins"))


def _of_s3(origin: Props) -> bool:
    name = str(origin.get("domainName") or "")
    return ".s3." in name or (".s3-" in name and not _WEBSITE.search(name))


@WEB.resource(
    "cdn-tls-version",
    "CloudFront accepts TLS 1.2 or newer",
    DISTRIBUTION,
    severity="medium",
    fix="Set viewer_certificate with a certificate of your own and minimum_protocol_version TLSv1.2_2021.",
    risk="Old versions of TLS can be broken, and what is sent can be read",
    law=TRANSIT,
    rules=("FSBP CloudFront.15",),
    url=f"{_CLOUDFRONT}/secure-connections-supported-viewer-protocols-ciphers.html",
)
def cdn_tls_version(props: Props) -> Iterator[str]:
    """CloudFront's own certificate allows TLS 1.0, whatever is set beside it."""
    certificate = at(props, "viewerCertificate") or {}
    version = str(certificate.get("minimumProtocolVersion") or "TLSv1")
    if certificate.get("cloudfrontDefaultCertificate") is True:
        version = "TLSv1"
    if not version.startswith(("TLSv1.2", "TLSv1.3")):
        yield f"It accepts {version}"


@WEB.resource(
    "cdn-origin-tls",
    "CloudFront fetches from its origins over TLS",
    DISTRIBUTION,
    severity="medium",
    fix="Set origin_protocol_policy to https-only and origin_ssl_protocols to TLSv1.2.",
    risk="What is sent can be read between the delivery network and the server, though the browser shows a lock",
    law=TRANSIT,
    rules=("FSBP CloudFront.9", "FSBP CloudFront.10"),
    url=f"{_CLOUDFRONT}/using-https-cloudfront-to-custom-origin.html",
)
def cdn_origin_tls(props: Props) -> Iterator[str]:
    """Not over HTTP, and not over SSL 3."""
    viewers = {item.get("viewerProtocolPolicy") for item in listed(props.get("defaultCacheBehavior"))}
    for origin in _origins(props):
        custom = at(origin, "customOriginConfig")
        if custom is None or _WEBSITE.search(str(origin.get("domainName") or "")):
            continue
        policy = custom.get("originProtocolPolicy")
        if policy == "http-only" or (policy == "match-viewer" and "allow-all" in viewers):
            yield f"It fetches from {origin.get('domainName')} over HTTP"
        elif "SSLv3" in listed(custom.get("originSslProtocols")):
            yield f"It fetches from {origin.get('domainName')} over SSL 3"


@WEB.each(
    "cdn-logged",
    "CloudFront logs who fetched what",
    DISTRIBUTION,
    beside=("aws:cloudwatch/logDeliverySource:LogDeliverySource",),
    severity="medium",
    fix="Set logging_config with a bucket, or create a cloudwatch LogDeliverySource for it.",
    risk="An attack or a theft of data through the delivery network leaves no trace",
    law=LOGGING,
    rules=("FSBP CloudFront.5",),
    url=f"{_CLOUDFRONT}/AccessLogs.html",
)
def cdn_logged(distribution: Item, stack: Stack) -> Iterator[str]:
    """Standard logs of either version, or real-time logs."""
    if at(distribution.props, "loggingConfig") is not None:
        return
    behaviours = listed(distribution.props.get("defaultCacheBehavior"))
    if any(given(item, "realtimeLogConfigArn") for item in behaviours):
        return
    source = "aws:cloudwatch/logDeliverySource:LogDeliverySource"
    if not stack.companions(distribution, source, "resourceArn"):
        yield "Its requests are not logged"


WEB.present(
    "cdn-behind-firewall",
    "CloudFront is behind a web application firewall",
    DISTRIBUTION,
    path="webAclId",
    severity="medium",
    fix="Set web_acl_id.",
    risk="Common attacks on web applications reach the program itself",
    rules=("FSBP CloudFront.6",),
    url=f"{_CLOUDFRONT}/distribution-web-awswaf.html",
)


@WEB.resource(
    "cdn-bucket-behind",
    "A bucket behind CloudFront is read through CloudFront only",
    DISTRIBUTION,
    severity="medium",
    fix="Set origin_access_control_id for the origin.",
    risk="The bucket has to be open to the internet for CloudFront to read it",
    rules=("FSBP CloudFront.13",),
    url=f"{_CLOUDFRONT}/private-content-restricting-access-to-s3.html",
)
def cdn_bucket_behind(props: Props) -> Iterator[str]:
    """An access control, or the older identity."""
    for origin in _origins(props):
        identity = at(origin, "s3OriginConfig")
        narrowed = given(origin, "originAccessControlId") or given(identity, "originAccessIdentity")
        if (identity is not None or _of_s3(origin)) and not narrowed:
            yield "It reads the bucket as anyone on the internet would"


@WEB.resource(
    "balancer-drops-bad-headers",
    "Load balancers drop invalid headers",
    BALANCER,
    "aws:elb/loadBalancer:LoadBalancer",
    severity="medium",
    fix="Set drop_invalid_header_fields to True (application load balancers), and desync_mitigation_mode to"
    " defensive or strictest.",
    risk="A forged header can make two servers read one request differently, and so smuggle in a second one",
    rules=("FSBP ELB.4", "FSBP ELB.12", "FSBP ELB.14"),
    url=f"{_ELB}/application/edit-load-balancer-attributes.html",
)
def balancer_headers(props: Props) -> Iterator[str]:
    """Only application load balancers and classic ones read headers."""
    classic = given(props, "listeners")
    if not classic and props.get("loadBalancerType", "application") != "application":
        return
    if not classic and props.get("dropInvalidHeaderFields") is not True:
        yield "It passes on invalid headers"
    if props.get("desyncMitigationMode") == "monitor":
        yield "It passes on ambiguous requests"


@WEB.resource(
    "balancer-logged",
    "Load balancers log their requests",
    BALANCER,
    "aws:elb/loadBalancer:LoadBalancer",
    severity="medium",
    fix="Set access_logs with a bucket and enabled.",
    risk="An attack or a theft of data leaves no trace",
    law=LOGGING,
    rules=("FSBP ELB.5",),
    url=f"{_ELB}/application/load-balancer-access-logs.html",
)
def balancer_logged(props: Props) -> Iterator[str]:
    """Classic ones log as soon as a bucket is given; a gateway's load balancer can't."""
    if props.get("loadBalancerType") == "gateway":
        return
    logs = at(props, "accessLogs")
    if logs is None or logs.get("enabled", given(props, "listeners")) is not True:
        yield "Its requests are not logged"


@WEB.resource(
    "balancer-deletion-protected",
    "Production's load balancers can't be deleted by accident",
    BALANCER,
    severity="low",
    production=True,
    fix="Set enable_deletion_protection to True.",
    risk="One wrong command takes the service off the internet, and its address is lost",
    law=("SOC 2 A1.2",),
    rules=("FSBP ELB.6",),
    url=f"{_ELB}/application/edit-load-balancer-attributes.html#deletion-protection",
)
def balancer_protected(props: Props) -> Iterator[str]:
    """Protected."""
    if props.get("enableDeletionProtection") is not True:
        yield "It may be deleted at once"


@WEB.resource(
    "classic-listener-tls",
    "Classic load balancers listen with TLS",
    "aws:elb/loadBalancer:LoadBalancer",
    severity="high",
    fix="Use lb_protocol https or ssl with a certificate.",
    risk="What users send can be read and changed on its way",
    law=TRANSIT,
    rules=("FSBP ELB.3",),
    url=f"{_ELB}/classic/elb-https-load-balancers.html",
)
def classic_tls(props: Props) -> Iterator[str]:
    """TCP is passed on as it is: what it carries is the target's matter."""
    for listener in listed(props.get("listeners")):
        if str(listener.get("lbProtocol")).lower() == "http":
            yield f"It listens on HTTP, port {listener.get('lbPort'):g}"


@WEB.each(
    "firewall-logged",
    "Web application firewalls log",
    "aws:wafv2/webAcl:WebAcl",
    beside=("aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration",),
    severity="low",
    fix="Create a WebAclLoggingConfiguration for it.",
    risk="Nobody can tell which attacks were tried, or which rightful users were refused",
    law=LOGGING,
    url="https://docs.aws.amazon.com/waf/latest/developerguide/logging.html",
)
def firewall_logged(acl: Item, stack: Stack) -> Iterator[str]:
    """A configuration about it."""
    if not stack.companions(acl, "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration", "resourceArn"):
        yield "Its requests are not logged"


@WEB.resource(
    "certificate-strong",
    "Certificates have strong keys",
    "aws:acm/certificate:Certificate",
    severity="high",
    fix="Use key_algorithm RSA_2048 or stronger, or an elliptic curve.",
    risk="The key can be computed, and with it somebody can pose as the service",
    law=TRANSIT,
    rules=("FSBP ACM.2",),
    url="https://docs.aws.amazon.com/acm/latest/userguide/acm-certificate-characteristics.html",
)
def certificate_strong(props: Props) -> Iterator[str]:
    """Not RSA of 1,024 bits."""
    if props.get("keyAlgorithm") == "RSA_1024":
        yield "Its key has 1,024 bits"
