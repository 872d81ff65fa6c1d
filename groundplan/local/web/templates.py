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


def render(template: str, body: str, parameters: Mapping[str, Mapping[str, str]], context: dict[str, Any]) -> str:
    """Fill in a template.

    Args:
        body: Of the request, or of the integration's answer.
        parameters: By kind (``path``, ``querystring``, ``header``) and name.
        context: Becomes ``$context``; what a template sets below ``responseOverride`` is in it afterwards.

    Raises:
        TemplateError: The template or what it reads is invalid.
    """
    try:
        return str(_compiled(template).merge({"input": _Input(body, parameters), "util": _Util(), "context": context}))
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
    airspeed.__additional_methods__[str] |= _TEXT
    airspeed.__additional_methods__[dict] |= _MAP
    return airspeed


# Methods of Java's texts and maps that the engine lacks, or has otherwise.
_TEXT: dict[str, Callable[..., Any]] = {
    "replaceAll": lambda self, pattern, by: re.sub(pattern, by.replace("\\", r"\\"), self),
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
    "containsKey": lambda self, key: key in self,
    "size": lambda self: len(self),
    "entrySet": lambda self: [{"key": key, "value": value} for key, value in self.items()],
}


class _Input:
    """``$input``."""

    def __init__(self, body: str, parameters: Mapping[str, Mapping[str, str]]) -> None:
        self.body = body
        self._parameters = parameters

    def path(self, expression: str) -> Any:
        return _found(self.body, expression)

    def json(self, expression: str) -> str:
        return json.dumps(_found(self.body, expression))

    def params(self, name: str | None = None) -> Any:
        """All parameters by kind, or one by its name: of the path, the query or the headers, in this order."""
        if name is None:
            return self._parameters
        kinds = [self._parameters[kind] for kind in ("path", "querystring", "header")]
        return next((named[name] for named in kinds if name in named), "")


class _Util:
    """``$util``."""

    def escapeJavaScript(self, text: object) -> str:  # noqa: N802
        """As Java's library does: an apostrophe, too, which JSON forbids to escape."""
        return json.dumps(str(text))[1:-1].replace("'", "\\'")

    def parseJson(self, text: str) -> Any:  # noqa: N802
        return json.loads(text)

    def urlEncode(self, text: object) -> str:  # noqa: N802
        return quote_plus(str(text))

    def urlDecode(self, text: object) -> str:  # noqa: N802
        return unquote_plus(str(text))

    def base64Encode(self, text: object) -> str:  # noqa: N802
        return base64.b64encode(str(text).encode()).decode()

    def base64Decode(self, text: object) -> str:  # noqa: N802
        return base64.b64decode(str(text)).decode()


@lru_cache(256)
def _expression(text: str) -> Any:
    from jsonpath_ng.ext.parser import parse

    return parse(text)


def _found(body: str, expression: str) -> Any:
    document = json.loads(body) if body.strip() else {}
    found = [match.value for match in _expression(expression).find(document)]
    return found[0] if len(found) == 1 else found or ""
