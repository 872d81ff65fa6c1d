"""IAM conditions: operators, their IfExists forms, and the qualifiers for multi-valued keys.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime

from policies.iam.documents import UNKNOWN, Test
from policies.iam.matching import all_of, any_of, arn_fits, fits, literal, opposite, resolved
from policies.iam.request import Request

_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?", re.IGNORECASE)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    """Seconds since 1970, from ISO 8601 or from such a number."""
    number = _number(text)
    if number is not None:
        return number
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _compared(
    read: Callable[[str], float | None], holds: Callable[[float, float], bool]
) -> Callable[[str, str], bool | None]:
    def test(pattern: str, value: str) -> bool | None:
        wanted, found = read(pattern), read(value)
        return False if wanted is None or found is None else holds(found, wanted)

    return test


def _address(pattern: str, value: str) -> bool | None:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _binary(pattern: str, value: str) -> bool | None:
    try:
        return base64.b64decode(pattern, validate=True) == base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False


def _truth(pattern: str, value: str) -> bool | None:
    return pattern.lower() in ("true", "false") and pattern.lower() == value.lower()


def _equal(one: str, two: str) -> bool | None:
    return fits(literal(one), two)


_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "Equals": lambda found, wanted: found == wanted,
    "LessThan": lambda found, wanted: found < wanted,
    "LessThanEquals": lambda found, wanted: found <= wanted,
    "GreaterThan": lambda found, wanted: found > wanted,
    "GreaterThanEquals": lambda found, wanted: found >= wanted,
}
# Each is called with a value of the policy and one of the request.
_TESTS: dict[str, Callable[[str, str], bool | None]] = {
    "stringequals": _equal,
    "stringequalsignorecase": lambda pattern, value: _equal(pattern.lower(), value.lower()),
    "stringlike": fits,
    "bool": _truth,
    "binaryequals": _binary,
    "ipaddress": _address,
    "arnequals": arn_fits,
    "arnlike": arn_fits,
    **{f"numeric{name.lower()}": _compared(_number, holds) for name, holds in _ORDERS.items()},
    **{f"date{name.lower()}": _compared(_moment, holds) for name, holds in _ORDERS.items()},
}
_NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "notipaddress": "ipaddress",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
}
_TEXTS = frozenset({"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"})


def known(operator: str) -> bool:
    """Whether IAM has an operator with this name."""
    match = _OPERATOR.fullmatch(operator)
    return match is not None and (
        match[2].lower() in (*_TESTS, *_NEGATED) or (match[2].lower() == "null" and not match[3])
    )


def holds(test: Test, request: Request, *, variables: bool) -> bool | None:
    """Whether one line of a condition is true; None where a value is unknown.

    Raises:
        ValueError: There is no such operator.
    """
    match = _OPERATOR.fullmatch(test.operator)
    if match is None or not known(test.operator):
        raise ValueError(f"IAM has no condition operator {test.operator}")
    qualifier, name, if_exists = (match[1] or "").lower(), match[2].lower(), bool(match[3])
    values = request.values(test.key)
    if name == "null":
        absent = None if values == (UNKNOWN,) else not values
        return any_of(
            None if absent is None or text == UNKNOWN else absent == (text.lower() == "true") for text in test.values
        )
    negated = name in _NEGATED
    compare = _TESTS[_NEGATED.get(name, name)]
    if not values:
        if values is None and request.may_have(test.key):
            return None
        return qualifier == "forallvalues" or (qualifier != "foranyvalue" and (negated or if_exists))
    patterns: list[str] = []
    for text in test.values:
        found = resolved(text, request, variables=variables and _NEGATED.get(name, name) in _TEXTS)
        patterns += found or []  # a variable without a value matches nothing

    def one(value: str) -> bool | None:
        fit = any_of(
            None if UNKNOWN in (pattern, value) and pattern != "*" else compare(pattern, value) for pattern in patterns
        )
        return opposite(fit) if negated else fit

    answers = [one(value) for value in values]
    if qualifier == "forallvalues":
        return all_of(answers)
    if qualifier == "foranyvalue" or len(answers) == 1:
        return any_of(answers)
    # AWS does not document what a plain operator does with several values: decided only where they agree.
    return answers[0] if len(set(answers)) == 1 else None
