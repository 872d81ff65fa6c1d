"""What a control is: one decorated function that looks at one resource and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi_policy import ReportViolation, ResourceValidationArgs, ResourceValidationPolicy, Severity

Check = Callable[[Mapping[str, Any]], Iterable[str]]


@dataclass(frozen=True)
class Control:
    """A control.

    Attributes:
        types: Resource types it looks at (Pulumi's type tokens).
        severity: critical, high, medium or low.
        frameworks: The rules behind it, for example ``GDPR Art. 32``.
        remediation: How to mend what it finds.
        url: What it follows.
        check: Takes a resource's inputs, yields what is wrong, one sentence each.
    """

    id: str
    title: str
    types: tuple[str, ...]
    severity: str
    frameworks: tuple[str, ...]
    remediation: str
    url: str
    check: Check


CONTROLS: dict[str, Control] = {}


def control(control_id: str, title: str, *types: str, severity: str, frameworks: tuple[str, ...], remediation: str, url: str) -> Callable[[Check], Check]:
    """Register a function as a control.

    Raises:
        ValueError: Another control has the same id.
    """

    def register(check: Check) -> Check:
        if control_id in CONTROLS:
            raise ValueError(f"two controls are named {control_id}")
        CONTROLS[control_id] = Control(control_id, title, types, severity, frameworks, remediation, url, check)
        return check

    return register


def as_policy(item: Control) -> ResourceValidationPolicy:
    """The control as Pulumi's engine runs it."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in item.types:
            for fault in item.check(args.props):
                report(f"{fault} ({', '.join(item.frameworks)}). {item.remediation}", None)

    return ResourceValidationPolicy(
        name=item.id,
        description=item.title,
        validate=validate,
        severity=Severity[item.severity.upper()],
        remediation_steps=item.remediation,
        url=item.url,
    )
