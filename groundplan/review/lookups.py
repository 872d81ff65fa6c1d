"""Answers to a program's look-ups while it previews, since a review makes no calls.

The few whose answers programs compute with are answered as AWS would for an account with default settings. In every
other answer each text is the name of what was requested (``getAmi.id``): the SDK does not accept unknown values in an
answer.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from pulumi.output import Unknown
from pulumi.runtime import rpc

from groundplan.engine.guest import STAND_IN
from groundplan.engine.policy_documents import policy_document
from groundplan.engine.shapes import shaped
from groundplan.engine.unknown import UNKNOWN

ACCOUNT = "123456789012"
MOST_NESTED = 4  # depth of nested objects in a stand-in


# What a parameter may hold: some programs read a number from it, or JSON, or several values.
OPAQUE = ("1", STAND_IN, "a,b,c")


def answer(token: str, arguments: dict[str, Any], region: str, opaque: str = OPAQUE[0]) -> dict[str, Any]:
    """The result of one look-up (``aws:ec2/getAmi:getAmi``), camel case.

    Args:
        arguments: As the SDK has read them; what only a deployment can tell is told by the placeholder.
        opaque: A parameter's value.
    """
    arguments = _told(arguments)
    name = token.rpartition(":")[2]
    if token in ("aws:ssm/getParameter:getParameter", "aws:ssm/getSecret:getSecret"):
        found = answer_of_class(token, arguments)
        return {**found, "value": opaque, "insecureValue": opaque}
    if token == "aws:secretsmanager/getSecretVersion:getSecretVersion":  # noqa: S105 (of a look-up)
        return {**answer_of_class(token, arguments), "secretString": STAND_IN}
    if token.startswith("aws:"):
        zones = [f"{region}{letter}" for letter in "abc"]
        known: dict[str, dict[str, Any]] = {
            "getAvailabilityZones": {
                "names": zones,
                "zoneIds": [f"{region}-az{number}" for number in (1, 2, 3)],
                "id": region,
            },
            "getCallerIdentity": {
                "accountId": ACCOUNT,
                "arn": f"arn:aws:iam::{ACCOUNT}:user/review",
                "userId": "review",
                "id": ACCOUNT,
            },
            "getRegion": {
                "name": region,
                "id": region,
                "region": region,
                "description": region,
                "endpoint": f"ec2.{region}.amazonaws.com",
            },
            "getPartition": {
                "partition": "aws",
                "dnsSuffix": "amazonaws.com",
                "id": "aws",
                "reverseDnsPrefix": "com.amazonaws",
            },
        }
        if name == "getPolicyDocument":
            return {
                **arguments,
                "json": policy_document(arguments),
                "minifiedJson": policy_document(arguments),
                "id": "document",
            }
        if name in known:
            return {**arguments, **known[name]}
        if name == "getPolicy" and (found := aws_policy(arguments)):
            return {**arguments, **found}
    if token == "kubernetes:yaml:decode":  # noqa: S105 (of a look-up)
        import yaml

        return {"result": [document for document in yaml.safe_load_all(arguments["text"]) if document]}
    return answer_of_class(token, arguments)


def answer_of_class(token: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A value for each property of the result, the arguments as they were given."""
    known_types = _unknown(token)
    return {**known_types, **{key: _coerced(value, known_types.get(key)) for key, value in arguments.items()}}


def _told(value: Any) -> Any:
    """Without the SDK's marks of unknown and secret values."""
    if isinstance(value, Unknown):
        return UNKNOWN
    if isinstance(value, Mapping):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return _told(value.get("value", UNKNOWN))
        return {key: _told(item) for key, item in value.items()}
    return [_told(item) for item in value] if isinstance(value, list) else value


def aws_policy(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """One of AWS's managed policies, by name or ARN; empty for a policy of the account's own."""
    from pulumi_aws.iam import ManagedPolicy

    name = str(arguments.get("name") or arguments.get("arn") or "").rpartition("/")[2]
    found = next((item.value for item in ManagedPolicy if item.value.rpartition("/")[2] == name), "")
    return {"arn": found, "id": found, "name": name, "path": "/"} if found else {}


def _unknown(token: str) -> dict[str, Any]:
    """By the result's class in the provider's package: texts are names, lists have two elements."""
    package, _, rest = token.partition(":")
    module, _, name = rest.partition(":")
    python = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    try:
        found = importlib.import_module(
            f"pulumi_{package.replace('-', '_')}.{module.partition('/')[0]}.{python}".replace(".index.", ".")
        )
        result = getattr(found, f"{name[0].upper()}{name[1:]}Result")
    except (ImportError, AttributeError):
        return {"id": f"{name}.id"}
    return _of_class(result, found, name, MOST_NESTED)


def _of_class(result: type, module: Any, name: str, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, hint in _hints(result).items():
        wire = (
            getattr(getattr(result, key).fget, "_pulumi_name", key)
            if isinstance(getattr(result, key, None), property)
            else key
        )
        values[wire] = _stand_in(str(hint), module, f"{name}.{wire}", depth)
    return values


def _stand_in(hint: str, module: Any, name: str, depth: int) -> Any:
    listed = "Sequence" in hint or "List" in hint
    one: Any
    if nested := re.search(r"outputs\.(\w+)", hint):
        kind = getattr(getattr(module, "outputs", None), nested.group(1), None)
        one = _of_class(kind, module, name, depth - 1) if kind and depth else {}
    elif "Mapping" in hint or "Dict" in hint:
        return {}
    elif re.search(r"\bbool\b", hint):
        one = False
    elif re.search(r"\b(int|float)\b", hint):
        one = 0
    else:
        one = _text(module.__name__.split(".")[1], name)
    return ([one, f"{one}-2"] if isinstance(one, str) else [one, one]) if listed else one


def _text(service: str, name: str) -> str:
    """A name that says what was looked up, unless its form is one that programs take apart."""
    key = name.rpartition(".")[2]
    found = shaped(service, key, "looked-up", "us-east-1", ACCOUNT)
    return name if found == f"looked-up-{key}" else found


def _coerced(given: Any, known: Any) -> Any:
    """An argument as the provider would return it: in the type of the result."""
    if isinstance(known, bool) and isinstance(given, str):
        return given.lower() in ("true", "1")
    if isinstance(known, int) and not isinstance(known, bool) and isinstance(given, str):
        return float(given) if re.fullmatch(r"-?\d+(\.\d+)?", given) else known
    return given


def _hints(result: type) -> dict[str, Any]:
    """Types of a result's properties, by their Python names."""
    found = {}
    for name in inspect.signature(result.__init__).parameters:  # type: ignore[misc]
        prop = getattr(result, name, None)
        if isinstance(prop, property) and prop.fget is not None:
            found[name] = prop.fget.__annotations__.get("return", "str")
    return found
