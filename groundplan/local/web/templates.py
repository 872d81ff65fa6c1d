"""API Gateway's mapping templates, in the Velocity template language.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote_plus, unquote_plus


class TemplateError(Exception):
    """A template can't be filled in."""


def render(
    template: str,
    body: str,
    parameters: Mapping[str, Mapping[str, str]],
    context: dict[str, Any],
    variables: Mapping[str, str] | None = None,
) -> str:
    """Fill in a template.

    Args:
        body: Of the request, or of the integration's answer.
        parameters: By kind (``path``, ``querystring``, ``header``) and name; headers as ``X-Name``.
        variables: Of the stage.
        context: Becomes ``$context``; what a template sets below ``responseOverride`` is in it afterwards.

    Raises:
        TemplateError: The template or what it reads is invalid.
    """
    try:
        names = {"input": _Input(body, parameters), "util": _Util(), "context": context}
        return str(_compiled(template).merge({**names, "stageVariables": dict(variables or {})}))
    except Exception as error:  # whatever a template may do wrong
        raise TemplateError(f"{type(error).__name__}: {error}") from error


@lru_cache(256)
def _compiled(template: str) -> Any:
    made = _velocity().Template(template)
    made.ensure_compiled()
    return made


@cache
def _velocity() -> Any:
    """The engine, as close to Java's as mapping templates need it."""
    import airspeed

    for kind in (airspeed.StringLiteral, airspeed.InterpolatedStringLiteral):
        kind.ESCAPED_CHAR = re.compile("(?!)")  # Velocity leaves backslashes in texts as they are
    name = r"[a-z_][a-z0-9_-]*"  # names may have hyphens
    airspeed.NameOrCall.NAME = re.compile(rf"({name})", re.IGNORECASE)
    airspeed.SetDirective.PLACE = re.compile(rf"\s*\$({name}(?:\.{name})*)", re.IGNORECASE)
    listed = ((str, _TEXT), (dict, _MAP), (list, _LIST), (int, _NUMBER), (float, _NUMBER), (_Bool, _NUMBER))
    for kind, methods in listed:
        airspeed.__additional_methods__.setdefault(kind, {}).update(methods)
    plain = airspeed.NameOrCall.calculate

    def calculate(self: Any, current: Any, loader: Any, namespace: Any) -> Any:
        """A template is not ours: it gets what is listed here, and nothing of Python's objects."""
        if isinstance(current, airspeed.LocalNamespace):
            return plain(self, current, loader, namespace)
        item = isinstance(current, dict) and self.name in current
        may = _LISTED.get(type(current)) or airspeed.__additional_methods__.get(type(current), {})
        return plain(self, current, loader, namespace) if item or self.name in may else None

    airspeed.NameOrCall.calculate = calculate
    return airspeed


# Methods of Java's texts and maps that the engine lacks, or has otherwise.
_TEXT: dict[str, Callable[..., Any]] = {
    "replaceAll": lambda self, pattern, by: re.sub(pattern, _groups(by), self),
    "replaceFirst": lambda self, pattern, by: re.sub(pattern, _groups(by), self, count=1),
    "replace": lambda self, old, new: self.replace(old, new),
    "split": lambda self, pattern: re.split(pattern, self),
    "charAt": lambda self, index: self[index],
    "concat": lambda self, other: self + str(other),
    "lastIndexOf": lambda self, part: self.rfind(part),
    "matches": lambda self, pattern: re.fullmatch(pattern, self) is not None,
    "equals": lambda self, other: self == other,
    "equalsIgnoreCase": lambda self, other: self.lower() == str(other).lower(),
    "isEmpty": lambda self: not self,
    "endsWith": lambda self, end: self.endswith(end),
    "indexOf": lambda self, part: self.find(part),
    "substring": lambda self, start, end=None: self[start:end],
    "toLowerCase": lambda self: self.lower(),
    "toUpperCase": lambda self: self.upper(),
    "toString": lambda self: self,
    "trim": lambda self: self.strip(),
}
_MAP: dict[str, Callable[..., Any]] = {
    "get": lambda self, key: self.get(key),
    "values": lambda self: list(self.values()),
    "containsKey": lambda self, key: key in self,
    "size": lambda self: len(self),
    "entrySet": lambda self: [{"key": key, "value": value} for key, value in self.items()],
}


_LIST: dict[str, Callable[..., Any]] = {"isEmpty": lambda self: not self}
_NUMBER: dict[str, Callable[..., Any]] = {"toString": str, "intValue": int}


class _Bool(int):
    """A boolean that is printed as JSON's."""

    def __str__(self) -> str:
        return "true" if self else "false"


def _java(value: Any) -> Any:
    """A JSON value as templates print it."""
    if isinstance(value, bool):
        return _Bool(value)
    if isinstance(value, dict):
        return {key: _java(item) for key, item in value.items()}
    return [_java(item) for item in value] if isinstance(value, list) else value


def _groups(by: str) -> str:
    """Java's replacement, which names groups by ``$1``, as Python's."""
    return re.sub(r"\$(\d)", r"\\g<\1>", by.replace("\\", r"\\"))


class _Input:
    """``$input``."""

    def __init__(self, body: str, parameters: Mapping[str, Mapping[str, str]]) -> None:
        self.body = body
        self._parameters = parameters

    def path(self, expression: str) -> Any:
        return _java(_found(self.body, expression))

    def json(self, expression: str) -> str:
        return json.dumps(_found(self.body, expression))

    def params(self, name: str | None = None) -> Any:
        """All parameters by kind, or one by its name: of the path, the query or the headers, in this order."""
        if name is None:
            return self._parameters
        kinds = [self._parameters[kind] for kind in ("path", "querystring", "header")]
        return next((named[one] for named in kinds for one in (name, name.title()) if one in named), "")


class _Util:
    """``$util``."""

    def escapeJavaScript(self, text: object) -> str:  # noqa: N802
        """As Java's library does: an apostrophe, too, which JSON forbids to escape."""
        return json.dumps(str(text))[1:-1].replace("'", "\\'")

    def parseJson(self, text: str) -> Any:  # noqa: N802
        return _java(json.loads(text))

    def urlEncode(self, text: object) -> str:  # noqa: N802
        return quote_plus(str(text))

    def urlDecode(self, text: object) -> str:  # noqa: N802
        return unquote_plus(str(text))

    def base64Encode(self, text: object) -> str:  # noqa: N802
        return base64.b64encode(str(text).encode()).decode()

    def base64Decode(self, text: object) -> str:  # noqa: N802
        return base64.b64decode(str(text)).decode()


# What templates may use of these.
_LISTED: dict[type, tuple[str, ...]] = {
    _Input: ("body", "json", "params", "path"),
    _Util: ("base64Decode", "base64Encode", "escapeJavaScript", "parseJson", "urlDecode", "urlEncode"),
}


@lru_cache(256)
def _expression(text: str) -> Any:
    from jsonpath_ng.ext.parser import parse

    return parse(text)


def _found(body: str, expression: str) -> Any:
    document = json.loads(body) if body.strip() else {}
    found = [match.value for match in _expression(expression).find(document)]
    many = any(mark in expression for mark in ("*", "?", "..", ":"))  # then the answer is a list, whatever is in it
    return found if many else found[0] if found else ""
