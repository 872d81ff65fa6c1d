"""What is set once for a network or an account: access lists, gateways, passwords, the default for new disks."""

from __future__ import annotations

from collections.abc import Iterator

from policies.control import Family, given, listed
from policies.laws import NETWORK, REST
from policies.networks import internet_among
from policies.stack import Item, Props, Stack

ACCOUNT = Family("account and network", NETWORK)
_ACL, _ACL_RULE = "aws:ec2/networkAcl:NetworkAcl", "aws:ec2/networkAclRule:NetworkAclRule"
_ADMINISTRATION = (22, 3389)


@ACCOUNT.each(
    "network-acl-closed",
    "Network access lists don't open remote administration to the internet",
    _ACL,
    _ACL_RULE,
    "aws:ec2/defaultNetworkAcl:DefaultNetworkAcl",
    severity="medium",
    fix="Name the range that is allowed, or omit ports 22 and 3389.",
    risk="Anyone on the internet can try passwords on the machines of the subnet, if a security group allows it, too",
    rules=("CIS AWS 6.2", "FSBP EC2.21"),
    url="https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html",
)
def network_acl_closed(item: Item, stack: Stack) -> Iterator[str]:
    """The first rule that fits decides, by its number."""
    lists = [item] if item.type != _ACL_RULE else stack.about(item, "networkAclId", _ACL)
    rules = [(item, item.props)] if not lists and _inward(item.props) else []
    for whole in lists:
        rules += [(whole, rule) for rule in listed(whole.props.get("ingress"))]
        separate = stack.companions(whole, _ACL_RULE, "networkAclId")
        rules += [(rule, rule.props) for rule in separate if _inward(rule.props)]
    for port in _ADMINISTRATION:
        fitting = [(owner, rule) for owner, rule in rules if _from_internet(rule) and _covers(rule, port)]
        owner, first = min(fitting, key=lambda found: _number(found[1]), default=(None, {}))
        if owner is item and (first.get("ruleAction") or first.get("action")) == "allow":
            yield f"Port {port} is open to the internet"


def _number(rule: Props) -> float:
    return float(rule.get("ruleNo") or rule.get("ruleNumber") or 0)


def _inward(rule: Props) -> bool:
    return rule.get("egress") is not True


def _from_internet(rule: Props) -> bool:
    return bool(internet_among([str(rule[key]) for key in ("cidrBlock", "ipv6CidrBlock") if given(rule, key)]))


def _covers(rule: Props, port: int) -> bool:
    protocol = str(rule.get("protocol")).lower()
    if protocol in ("-1", "all"):
        return True
    return protocol in ("6", "tcp") and (rule.get("fromPort") or 0) <= port <= (rule.get("toPort") or 65535)


@ACCOUNT.resource(
    "transit-named",
    "Transit gateways connect no network unasked",
    "aws:ec2transitgateway/transitGateway:TransitGateway",
    severity="high",
    fix="Set auto_accept_shared_attachments to disable.",
    risk="Another account's network is connected to the company's without anybody's consent",
    rules=("FSBP EC2.23",),
    url="https://docs.aws.amazon.com/vpc/latest/tgw/tgw-transit-gateways.html",
)
def transit_named(props: Props) -> Iterator[str]:
    """Not automatically."""
    if props.get("autoAcceptSharedAttachments") == "enable":
        yield "It accepts every network that is shared with it"


@ACCOUNT.resource(
    "password-policy-strong",
    "The account's passwords are long, and not used again",
    "aws:iam/accountPasswordPolicy:AccountPasswordPolicy",
    severity="medium",
    fix="Set minimum_password_length to 14 or more, and password_reuse_prevention to 24.",
    risk="A password can be guessed, or an old one that has leaked still opens the account",
    law=("GDPR 32(1)(b)", "HIPAA 164.312(d)", "SOC 2 CC6.1"),
    rules=("FSBP IAM.7",),
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_passwords_account-policy.html",
)
def password_policy(props: Props) -> Iterator[str]:
    """Length and history."""
    length, history = props.get("minimumPasswordLength", 6), props.get("passwordReusePrevention", 0)
    if length < 14:
        yield f"{length:g} characters are enough"
    if history < 24:
        yield f"Only the last {history:g} passwords are refused" if history else "Old passwords may be used again"


ACCOUNT.setting(
    "disks-encrypted-by-default",
    "The account encrypts every new disk",
    "aws:ebs/encryptionByDefault:EncryptionByDefault",
    "enabled",
    True,
    absent=True,
    severity="high",
    risk="A disk that a program or a person makes without a thought can be read by whoever obtains it",
    law=REST,
    rules=("CIS AWS 6.1.1", "FSBP EC2.7"),
    url="https://docs.aws.amazon.com/ebs/latest/userguide/encryption-by-default.html",
)
