"""The controls as Pulumi's engine runs them."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UnknownValueError

from policies.control import Control
from policies.controls import CONTROLS
from policies.settings import LONGEST_DAYS, SWITCH, UNWAIVABLE, Settings, read_settings
from policies.stack import Item, Stack
from policies.type_names import canonical

WAIVERS_APPLY = (  # the review sets it to 0: it shows waived findings, and who approved them
    "GROUNDPLAN_POLICY_WAIVERS"
)


def policies() -> list[Policy]:
    """Every control that applies to the stack, as a policy; and one for waivers that are no longer valid."""
    settings = _settings()
    made: list[Policy] = [_as_policy(control, settings) for control in CONTROLS.values()]
    return [*made, _waiver_policy(settings)]


def _settings() -> Settings:
    config = pulumi.Config("groundplan")
    return read_settings(
        config.get_object("objectives"),
        config.get_object("waivers"),
        os.environ.get("PULUMI_STACK", ""),
        config.get_object("regimes"),
    )


def _as_policy(control: Control, settings: Settings) -> Policy:
    level = EnforcementLevel.MANDATORY if settings.mandatory(control) else EnforcementLevel.ADVISORY
    common: dict[str, Any] = {
        "name": control.id,
        "description": f"{control.title}. {control.risk}.",
        "enforcement_level": level if settings.applies(control) else EnforcementLevel.DISABLED,
        "severity": Severity[control.severity.upper()],
        "framework": PolicyComplianceFramework(
            name=", ".join(sorted(control.frameworks)), reference=", ".join(control.law)
        ),
        "tags": [control.family, *control.types, *control.beside],
        "remediation_steps": control.remediation,
        "url": control.url,
    }
    waived = _waived(control, settings)
    if control.stack_check is not None:
        return StackValidationPolicy(validate=_stack_validation(control, waived), **common)
    return ResourceValidationPolicy(validate=_validation(control, waived), remediate=_remediation(control), **common)


def _waived(control: Control, settings: Settings) -> Callable[[str], bool]:
    today = datetime.datetime.now(datetime.UTC).date()
    holding = [w for w in settings.waivers if not w.expired(today)] if os.environ.get(WAIVERS_APPLY) != "0" else []
    return lambda resource: any(waiver.covers(control.id, resource) for waiver in holding)


def _validation(
    control: Control, waived: Callable[[str], bool]
) -> Callable[[ResourceValidationArgs, ReportViolation], None]:
    types, check = frozenset(control.types), control.check
    assert check is not None

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if canonical(args.resource_type) in types:
            for fault in check(args.props):
                if not waived(args.name):
                    report(f"{fault}. {control.remediation}", None)

    return validate


def _remediation(control: Control) -> Any:
    remedy, check = control.remedy, control.check
    if remedy is None or check is None:
        return None

    def remediate(args: ResourceValidationArgs) -> dict[str, Any] | None:
        if canonical(args.resource_type) not in control.types or not list(check(args.props)):
            return None
        mended: dict[str, Any] = _plain(args.props)
        remedy(mended)
        return mended

    return remediate


def _plain(value: Any) -> Any:
    """Without the SDK's proxies, which are read only below the first level."""
    target = getattr(value, "_DictProxy__target", None)
    if target is not None:
        return {key: _plain(item) for key, item in target.items()}
    target = getattr(value, "_ListProxy__target", None)
    return [_plain(item) for item in target] if target is not None else value


def _stack_validation(
    control: Control, waived: Callable[[str], bool]
) -> Callable[[StackValidationArgs, ReportViolation], None]:
    check = control.stack_check
    assert check is not None

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        stack = _stack(args)
        for urn, fault in check(stack):
            if not waived(stack.name(urn)):
                report(f"{fault}. {control.remediation}", urn or None)

    return validate


# The resources of the last stack-wide policy, and the stack of them: a quick pack gives the next one the same.
_last = threading.local()


def _stack(args: StackValidationArgs) -> Stack:
    if getattr(_last, "resources", None) is not args.resources:
        own = pulumi.Config("aws").get("region") or os.environ.get("AWS_REGION") or ""
        _last.stack = Stack(
            Item(
                canonical(r.resource_type),
                r.name,
                r.urn,
                _properties(r),
                bool(r.opts.protect),
                {key: tuple(source.urn for source in sources) for key, sources in r.property_dependencies.items()},
                _region(r, own),
            )
            for r in args.resources
        )
        _last.resources = args.resources
    found: Stack = _last.stack
    return found


def _region(resource: PolicyResource, own: str) -> str:
    """Its own, or its provider's; empty where that is the stack's.

    Args:
        own: The stack's region.
    """
    if not resource.resource_type.startswith("aws:"):
        return ""
    for props in (resource.props, resource.provider.props if resource.provider else {}):
        try:
            if props.get("region"):
                return "" if props["region"] == own else str(props["region"])
        except UnknownValueError:
            continue
    return ""


def _properties(resource: PolicyResource) -> Mapping[str, Any]:
    """A resource's properties; reading them raises where nothing about them is known.

    In a preview the engine has nothing of a resource whose provider is not configured yet, such as a Kubernetes object
    before there is a cluster. A review has every resource's inputs.
    """
    nothing = (
        not resource.props
        and os.environ.get(SWITCH) != "1"
        and pulumi.runtime.is_dry_run()
        and resource.resource_type.startswith(("aws:", "kubernetes:"))
    )
    return _Unknown() if nothing else resource.props


class _Unknown(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise UnknownValueError(UNKNOWN_OBJECT_VALUE, [key])

    def __iter__(self) -> Iterator[str]:
        raise UnknownValueError(UNKNOWN_OBJECT_VALUE, [])

    def __len__(self) -> int:
        raise UnknownValueError(UNKNOWN_OBJECT_VALUE, [])


def _waiver_policy(settings: Settings) -> Policy:
    def validate(_args: StackValidationArgs, report: ReportViolation) -> None:
        for fault in waiver_faults(settings, datetime.datetime.now(datetime.UTC).date()):
            report(fault, None)

    return StackValidationPolicy(
        name=UNWAIVABLE,
        description="Every waiver is complete, about a control that exists, and not expired",
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        severity=Severity.HIGH,
        tags=["waivers"],
        remediation_steps="Fix what was waived, or have the waiver approved again with a later date.",
    )


def waiver_faults(settings: Settings, today: datetime.date) -> list[str]:
    """What is wrong with the stack's waivers."""
    known = {*CONTROLS, *OF_THE_REVIEW}
    unknown = [
        f"The waiver of {w.policy} on {w.resource} names a control that this pack does not have"
        for w in settings.waivers
        if w.policy not in known
    ]
    unknown += [
        f"The waiver of {w.policy} on {w.resource} runs until {w.expires.isoformat()}: more than {LONGEST_DAYS} days"
        for w in settings.waivers
        if (w.expires - today).days > LONGEST_DAYS
    ]
    expired = [
        f"The waiver of {w.policy} on {w.resource}, approved by {w.approver}, expired on {w.expires.isoformat()}"
        for w in settings.waivers
        if w.expired(today)
    ]
    return [*settings.faults, *unknown, *expired]


# Findings of `groundplan review` itself, which can be waived like those of controls.
OF_THE_REVIEW = (
    "iam-unknown-action",
    "iam-unknown-operator",
    "iam-unknown-condition",
    "iam-condition-absent",
    "iam-resource-ignored",
    "iam-resource-named",
    "iam-resource-mismatch",
    "iam-escalation",
    "iam-takeover",
    "iam-malformed",
    "penetration-test-due",
    "k8s-valid",
)
