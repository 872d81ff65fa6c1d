"""API Gateway's mapping templates, in the Velocity template language.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
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
    import airspeed

    for kind in (airspeed.StringLiteral, airspeed.InterpolatedStringLiteral):
        kind.ESCAPED_CHAR = re.compile("(?!)")  # Velocity leaves backslashes in texts as they are
    made = airspeed.Template(template)
    made.ensure_compiled()
    return made


class _Text(str):
    """A text with the methods of Java's."""

    def replaceAll(self, pattern: str, by: str) -> _Text:  # noqa: N802
        return _Text(re.sub(pattern, by.replace("\\", r"\\"), self))

    def matches(self, pattern: str) -> bool:
        return re.fullmatch(pattern, self) is not None

    def equals(self, other: object) -> bool:
        return self == other

    def isEmpty(self) -> bool:  # noqa: N802
        return not self


class _Input:
    """``$input``."""

    def __init__(self, body: str, parameters: Mapping[str, Mapping[str, str]]) -> None:
        self.body = _Text(body)
        self._parameters = parameters

    def path(self, expression: str) -> Any:
        found = _found(self.body, expression)
        return _Text(found) if isinstance(found, str) else found

    def json(self, expression: str) -> str:
        return json.dumps(_found(self.body, expression))

    def params(self, name: str | None = None) -> Any:
        """All parameters by kind, or one by its name: of the path, the query or the headers, in this order."""
        if name is None:
            return self._parameters
        return next(
            (
                _Text(named[name])
                for kind in ("path", "querystring", "header")
                if name in (named := self._parameters[kind])
            ),
            _Text(),
        )


class _Util:
    """``$util``."""

    def escapeJavaScript(self, text: object) -> _Text:  # noqa: N802
        """As Java's library does: an apostrophe, too, which JSON forbids to escape."""
        return _Text(json.dumps(str(text))[1:-1].replace("'", "\\'"))

    def parseJson(self, text: str) -> Any:  # noqa: N802
        return json.loads(text)

    def urlEncode(self, text: object) -> _Text:  # noqa: N802
        return _Text(quote_plus(str(text)))

    def urlDecode(self, text: object) -> _Text:  # noqa: N802
        return _Text(unquote_plus(str(text)))

    def base64Encode(self, text: object) -> _Text:  # noqa: N802
        return _Text(base64.b64encode(str(text).encode()).decode())

    def base64Decode(self, text: object) -> _Text:  # noqa: N802
        return _Text(base64.b64decode(str(text)).decode())


@lru_cache(256)
def _expression(text: str) -> Any:
    from jsonpath_ng.ext.parser import parse

    return parse(text)


def _found(body: str, expression: str) -> Any:
    document = json.loads(body) if body.strip() else {}
    found = [match.value for match in _expression(expression).find(document)]
    return found[0] if len(found) == 1 else found or ""
