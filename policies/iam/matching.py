"""IAM patterns: actions, ARNs, principals. Answers are True, False, or None where it is undecided.

Wildcards:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html#reference_policies_elements_resource_wildcards
Variables: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from policies.iam.documents import UNKNOWN
from policies.iam.request import Request

# Services whose ARNs name the resource directly, without its type before it: there a wildcard may be at the
# beginning.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_WITHOUT_TYPE = frozenset({"s3", "sns", "sqs", "execute-api", "apigateway", "codecommit", "transfer"})
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ACCOUNT = re.compile(r"\d{12}")
_TYPE_WITH_WILDCARD = re.compile(r"[^/:]*[*?][^/:]*[/:].")


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """True where one is; else None where one is undecided."""
    undecided = False
    for answer in answers:
        if answer:
            return True
        undecided = undecided or answer is None
    return None if undecided else False


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """False where one is; else None where one is undecided."""
    undecided = False
    for answer in answers:
        if answer is False:
            return False
        undecided = undecided or answer is None
    return None if undecided else True


def opposite(answer: bool | None) -> bool | None:
    """Undecided stays undecided."""
    return None if answer is None else not answer


@lru_cache(maxsize=20_000)
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    text = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c.translate(_PLAIN)) for c in pattern)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


# Literal wildcards (`${*}`, those in values) are replaced by other characters while patterns are matched.
_ESCAPED = {ord("*"): "\ue000", ord("?"): "\ue001"}
_PLAIN = {ord(mark): chr(plain) for plain, mark in _ESCAPED.items()}


def literal(text: str) -> str:
    """A text as a pattern that matches nothing else."""
    return text.translate(_ESCAPED)


def fits(pattern: str, value: str, *, ignore_case: bool = False) -> bool | None:
    """Whether a text matches a pattern of literals, ``*`` and ``?``."""
    if UNKNOWN in (pattern, value):
        return True if pattern == "*" else None
    if UNKNOWN in pattern or UNKNOWN in value:
        # A part is unknown. What is before and after it can still show that they differ, or a wildcard may cover it
        # whatever it is.
        if UNKNOWN not in pattern and _pattern(pattern, ignore_case).fullmatch(
            value.replace(UNKNOWN, "\ue003\ue003\ue003")
        ):
            return True
        return None if _may_meet(pattern, value) else False
    return _matches(pattern, value, ignore_case)


def _matches(pattern: str, value: str, ignore_case: bool) -> bool:
    head = pattern[:-1] if pattern.endswith("*") else pattern
    if "*" in head or "?" in head:
        return _pattern(pattern, ignore_case).fullmatch(value) is not None
    # Most patterns are a text or a prefix: thousands of expressions would take longer to compile than everything
    # else.
    head = head.translate(_PLAIN)
    if ignore_case:
        head, value = head.lower(), value.lower()
    return value.startswith(head) if pattern.endswith("*") else value == head


def _may_meet(pattern: str, value: str) -> bool:
    return patterns_meet(pattern.replace(UNKNOWN, "*"), literal(value).replace(UNKNOWN, "*"))


@lru_cache(maxsize=20_000)
def patterns_meet(one: str, two: str) -> bool:
    """Whether some text matches both patterns of literals, ``*`` and ``?``."""
    if not one or not two:
        return not one.strip("*") and not two.strip("*")
    if one[0] == "*":
        return patterns_meet(one[1:], two) or patterns_meet(one, two[1:])
    if two[0] == "*":
        return patterns_meet(one, two[1:]) or patterns_meet(one[1:], two)
    return (one[0] == two[0] or "?" in (one[0], two[0])) and patterns_meet(one[1:], two[1:])


def resolved(text: str, request: Request, *, variables: bool) -> list[str] | None:
    """A text of a policy with its variables replaced: one text for each value; None where a key is missing.

    An unknown value becomes ``UNKNOWN`` in the text.
    """
    if not variables or "${" not in text:
        return [text]
    found = [""]
    last = 0
    for match in _VARIABLE.finditer(text):
        found = [before + text[last : match.start()] for before in found]
        last = match.end()
        key, comma, rest = match[1].partition(",")
        if key in ("*", "?", "$"):
            values: tuple[str, ...] | None = (key,)
        else:
            values = request.values(key.strip())
            if values is None and comma:
                values = (rest.strip().strip("'"),)
        if values is None:
            return None
        # A wildcard in a value is a character like any other.
        found = [before + literal(value) for before in found for value in values]
    return [before + text[last:] for before in found]


@lru_cache(maxsize=100_000)
def action_fits(pattern: str, action: str) -> bool | None:
    """Whether an action matches ``service:Name`` with wildcards, ignoring case."""
    if pattern == UNKNOWN:
        return None
    return fits(pattern, action, ignore_case=True)


def arn_fits(pattern: str, arn: str) -> bool | None:
    """Whether an ARN matches a pattern: each of its first five parts by itself, then the rest as a whole.

    Undecided where the pattern has a wildcard in the type of the resource (``*/name``): the reference of ARNs forbids
    it, AWS's own examples for EC2 use it
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html#arns-paths-wildcards).
    """
    if pattern == "*":
        return True
    if arn == "*":
        return False  # the action supports no resources
    if pattern == UNKNOWN or arn == UNKNOWN:
        return None
    wanted, found = pattern.split(":", 5), arn.split(":", 5)
    if len(wanted) < 6 or len(found) < 6:
        # AWS checks each of the six parts; its documentation says nothing about a pattern that ends before them
        # (`arn:aws:s3*`).
        return True if pattern == arn else None if pattern.endswith("*") and fits(pattern, arn) is not False else False
    answer = all_of(fits(one, two) for one, two in zip(wanted, found, strict=True))
    if answer and wanted[2] not in _WITHOUT_TYPE and wanted[5] != found[5] and _TYPE_WITH_WILDCARD.match(wanted[5]):
        return None
    return answer


def resource_fits(pattern: str, request: Request, *, variables: bool) -> bool | None:
    """Whether the request's resource matches a pattern of a statement."""
    texts = resolved(pattern, request, variables=variables)
    return False if texts is None else any_of(arn_fits(text, request.resource) for text in texts)


def principal_fits(kind: str, value: str, request: Request) -> str | None:
    """How a principal of a statement names the caller.

    Returns:
        ``session``, ``user`` or ``service`` where it is named itself; ``role`` where its role is; ``everyone`` for
        ``*``; ``account`` where its account is; ``unknown`` where it is undecided; None where it is another.
    """
    who = request.principal
    if value == UNKNOWN:
        return "unknown"
    if kind == "Service":
        return "service" if who == value else None
    if kind in ("Federated", "CanonicalUser"):
        return "user" if who == value else None
    if value == "*":
        return "everyone"
    if "." in who and not who.startswith("arn:"):
        return None  # a service is only matched by its own kind
    if _ACCOUNT.fullmatch(value) or (value.startswith("arn:") and value.endswith(":root")):
        account = value if _ACCOUNT.fullmatch(value) else value.split(":")[4]
        if account == UNKNOWN or request.account == UNKNOWN:
            return "unknown"
        return "account" if account == request.account else None
    if value == who:
        return (
            "session" if ":assumed-role/" in who or ":federated-user/" in who else "role" if ":role/" in who else "user"
        )
    if request.role and value == request.role:
        return "role"
    if UNKNOWN in value or UNKNOWN in who:
        return "unknown" if _may_meet(value, who) else None
    return None
