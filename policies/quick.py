"""Makes the pack fast for a review: the SDK decodes a resource once, not once for each policy, runs only the policies
for its type, and judges a stack's resources in one call: for thousands, the calls took most of the time.

It replaces private parts of the SDK, so it is only for reviews, which set ``SWITCH``; under ``pulumi up`` the SDK is
unchanged.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pulumi_policy.policy as sdk

from policies.controls import CONTROLS
from policies.settings import EACH_RESOURCE
from policies.type_names import canonical

# What is replaced, and what that relies on.
_MODULE = (
    "json_format",
    "deserialize_properties",
    "unknown_checking_proxy",
    "StackValidationArgs",
    "_PolicyAnalyzerServicer",
)
_SERVICER = ("Analyze", "AnalyzeStack", "_get_resource_options")
_POLICIES = "_PolicyAnalyzerServicer__policies"
_MOST_KEPT = 20_000


def absent() -> list[str]:
    """Names that are replaced or relied on, but that the SDK does not have."""
    servicer = getattr(sdk, "_PolicyAnalyzerServicer", None)
    gone = [name for name in _MODULE if not hasattr(sdk, name)]
    gone += [f"_PolicyAnalyzerServicer.{name}" for name in _SERVICER if not hasattr(servicer, name)]
    return gone + ([] if _POLICIES in getattr(servicer, "__annotations__", {}) else [_POLICIES])


def quicken() -> None:
    """Change the SDK in this process. If it lacks one of the names, nothing is changed and the pack is just slower; a
    test detects that.
    """
    if not absent():
        vars(sdk).update(replacements())


def replacements() -> dict[str, Any]:
    """Replacements for parts of the SDK's module, by name, that do the same faster."""
    names = vars(sdk)
    json_format = names["json_format"]
    decoded = SimpleNamespace(**{**vars(json_format), "MessageToDict": _remembered(json_format.MessageToDict)})
    return {
        "json_format": decoded,
        "deserialize_properties": _remembered(names["deserialize_properties"]),
        "unknown_checking_proxy": _remembered(names["unknown_checking_proxy"]),
        "StackValidationArgs": _shared(names["StackValidationArgs"]),
        "_PolicyAnalyzerServicer": _quick(names["_PolicyAnalyzerServicer"]),
    }


def _remembered(decode: Callable[..., Any]) -> Callable[..., Any]:
    kept = threading.local()  # requests arrive on several threads

    def call(message: Any, *more: Any) -> Any:
        if more:  # a remedy changes its input
            return decode(message, *more)
        cache = kept.__dict__.setdefault("by_id", {})
        found = cache.get(id(message))
        if found is None or found[0] is not message:
            if len(cache) > _MOST_KEPT:
                cache.clear()
            found = cache[id(message)] = (message, decode(message))
        return found[1]

    return call


# The objects that the SDK created for the first stack-wide policy of a request, for the others: a list, or
# missing.
_stack = threading.local()


def _shared(arguments: type) -> type:
    """``StackValidationArgs`` that all share the list of the first one of a request."""

    class Shared(arguments):  # type: ignore[misc]
        def __init__(self, resources: list[Any], *more: Any) -> None:
            if not getattr(_stack, "made", None):
                _stack.made = resources
            super().__init__(_stack.made, *more)

    return Shared


class _Unmade:
    """An ``AnalyzeStackRequest`` that has no resources left to convert once they have been converted, and all of them
    before, however often it is read.
    """

    def __init__(self, request: Any) -> None:
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def resources(self) -> Any:
        return () if getattr(_stack, "made", None) else self._request.resources


def _quick(servicer: Any) -> Any:
    options = _remembered(lambda request: servicer._get_resource_options(None, request))
    for_type: dict[str, list[Any]] = {}

    class Quick(servicer):  # type: ignore[misc]
        def _get_resource_options(self, request: Any) -> Any:
            return options(request)

        def Analyze(self, request: Any, context: Any) -> Any:  # noqa: N802 (the gRPC method's name)
            """Run the policies for the resource's type, not all of them."""
            if request.type not in for_type:
                controls = ((policy, CONTROLS.get(policy.name)) for policy in getattr(self, _POLICIES))
                for_type[request.type] = [
                    policy
                    for policy, control in controls
                    if control is None or canonical(request.type) in control.types
                ]
            view = copy.copy(self)
            setattr(view, _POLICIES, for_type[request.type])
            return servicer.Analyze(view, request, context)

        def AnalyzeStack(self, request: Any, context: Any) -> Any:  # noqa: N802 (the gRPC method's name)
            """Convert the resources to objects once; and judge each of them, where the call asks for it."""
            _stack.__dict__.clear()
            each = context is not None and EACH_RESOURCE in dict(context.invocation_metadata())
            try:
                single = [self._analyzed(resource, context) for resource in request.resources] if each else ()
                whole = super().AnalyzeStack(_Unmade(request), context)
            finally:
                _stack.__dict__.clear()
            for diagnostics in single:
                whole.diagnostics.extend(diagnostics)
            if each:
                context.set_trailing_metadata(((EACH_RESOURCE, "1"),))
            return whole

        def _analyzed(self, resource: Any, context: Any) -> list[Any]:
            """An ``AnalyzerResource`` has all that ``Analyze`` reads of its request."""
            found = list(self.Analyze(resource, context).diagnostics)
            for item in found:
                item.urn = resource.urn
            return found

    return Quick
