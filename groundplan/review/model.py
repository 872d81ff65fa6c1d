"""What a review finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Resource:
    """One resource of the program, as a preview shows it.

    Attributes:
        inputs: Camel case; values known only after deployment are ``groundplan.engine.preview.UNKNOWN``.
        source: ``file:line`` of the Python that created it, below the project's folder.
        dependencies: URNs of the resources that its inputs come from.
        aliases: URNs that it may have had before.
        ignore_changes, replace_on_changes: Paths of inputs: a change of them is not made, or makes the resource anew.
        retain_on_delete: Whether it stays in AWS when it is removed from the program.
    """

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    source: str = ""
    protect: bool = False
    remote: bool = False
    dependencies: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    retain_on_delete: bool = False


@dataclass(frozen=True)
class Waived:
    """Who accepted a finding, why, and until when (ISO date)."""

    approver: str
    reason: str
    expires: str


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        policy: Id of the control.
        resource: Name of the resource; ``stack`` where it is about the whole stack.
        law: For example ``GDPR 32(1)(a)``.
        source: ``file:line``.
        risk: What may happen where it stays so, in one sentence.
        family: Of the control, for example ``encryption at rest``.
    """

    policy: str
    title: str
    severity: str
    mandatory: bool
    resource: str
    type: str
    urn: str
    message: str
    remediation: str = ""
    law: tuple[str, ...] = ()
    url: str = ""
    source: str = ""
    waived: Waived | None = None
    risk: str = ""
    family: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it makes the review fail."""
        return self.mandatory and self.waived is None

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """Identifies the same finding in another revision; one that has been waived since is a different one."""
        return self.policy, self.urn, self.message, self.waived is not None


@dataclass(frozen=True)
class Grant:
    """Who may do what to what.

    Attributes:
        who: Role, user or group; for a resource's own policy, the principals it names.
        access: AWS's access level: List, Read, Write, Permissions management, Tagging.
        resources: ARNs and patterns; unknown ones say so.
        conditions: As ``operator key = values``.
    """

    who: str
    service: str
    access: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class CostLine:
    """A part of the monthly cost, in USD; with its model, if it belongs to one."""

    name: str
    monthly_usd: float
    model: str = ""


@dataclass(frozen=True)
class Estimate:
    """Monthly cost.

    Attributes:
        basis: ``design`` (of the objectives) or ``resources`` (list prices of what the program creates).
        budget_usd: None without a budget.
        not_priced: Types that are not in the price book, with their numbers.
        by_use: Types that are billed by usage, which a program does not state.
        factor: How the prices were estimated from another region's; empty where they are the region's own.
        free: Types that cost nothing by themselves.
    """

    basis: str
    lines: tuple[CostLine, ...]
    as_of: str
    region: str
    budget_usd: float | None = None
    not_priced: tuple[tuple[str, int], ...] = ()
    by_use: tuple[tuple[str, int], ...] = ()
    factor: str = ""
    free: tuple[tuple[str, int], ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether there is something that it does not include."""
        return bool(self.not_priced or (self.by_use and self.basis == "resources"))

    @property
    def source(self) -> str:
        """Which prices they are."""
        return f"of {self.region} as of {self.as_of}{f' ({self.factor})' if self.factor else ''}"

    @property
    def monthly_usd(self) -> float:
        """All lines."""
        return sum(line.monthly_usd for line in self.lines)

    @property
    def over_budget(self) -> bool:
        """Whether it is more than the budget allows."""
        return self.budget_usd is not None and self.monthly_usd > self.budget_usd


@dataclass(frozen=True)
class Undecided:
    """A control that could not judge a resource, since it needs a value that is known only after deployment."""

    policy: str
    resource: str
    why: str


@dataclass(frozen=True)
class Change:
    """A resource that differs.

    Attributes:
        what: added, gone or changed.
        inputs: Names of the inputs that differ.
        replacing: Those of them that AWS can't change in place, so that the resource is made anew.
        holds_data: Whether what it holds is lost when it is deleted or made anew.
    """

    what: str
    type: str
    name: str
    inputs: tuple[str, ...] = ()
    replacing: tuple[str, ...] = ()
    holds_data: bool = False

    @property
    def destroys_data(self) -> bool:
        """Whether data is lost by it."""
        return self.holds_data and (self.what == "gone" or bool(self.replacing))


@dataclass(frozen=True)
class Comparison:
    """What differs from another revision; ``may_added`` and ``may_gone`` for who may do what."""

    revision: str
    resources: tuple[Change, ...]
    grants_added: tuple[Grant, ...]
    grants_gone: tuple[Grant, ...]
    findings_added: tuple[Finding, ...]
    findings_gone: tuple[Finding, ...]
    monthly_usd_before: float
    may_added: tuple[str, ...] = ()
    may_gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Review:
    """The complete review.

    Attributes:
        may: Who may do which sensitive operations, as sentences; empty where the project has no record of calls.
        uncovered: Types of the program that no control looks at, with their numbers.
        evidence: Files of the project that show what was done manually.
        folder: The project's folder below the root of its repository; empty where it is the root.
    """

    project: str
    stack: str
    resources: tuple[Resource, ...]
    findings: tuple[Finding, ...]
    undecided: tuple[Undecided, ...]
    grants: tuple[Grant, ...]
    cost: Estimate
    objectives_not_met: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    controls: int = 0
    seconds: float = 0.0
    comparison: Comparison | None = field(default=None)
    may: tuple[str, ...] = ()
    uncovered: tuple[tuple[str, int], ...] = ()
    folder: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def blocking(self) -> list[Finding]:
        """The findings that make it fail."""
        return [finding for finding in self.findings if finding.blocks]

    @property
    def passed(self) -> bool:
        """No mandatory finding, within budget, objectives met."""
        return not self.blocking and not self.cost.over_budget and not self.objectives_not_met

    def document(self) -> dict[str, Any]:
        """For programs."""
        found = asdict(self)
        found["passed"] = self.passed
        found["cost"] |= {
            "incomplete": self.cost.incomplete,
            "monthly_usd": round(self.cost.monthly_usd, 2),
            "over_budget": self.cost.over_budget,
        }
        return found


def by_severity(findings: tuple[Finding, ...] | list[Finding]) -> Iterator[Finding]:
    """Blocking findings first, then by severity, policy and resource."""
    rank = {severity: index for index, severity in enumerate(SEVERITIES)}
    return iter(
        sorted(
            findings, key=lambda f: (not f.blocks, f.waived is not None, rank.get(f.severity, 9), f.policy, f.resource)
        )
    )
