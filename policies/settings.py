"""The policies' settings from the stack's configuration: its regimes decide what is mandatory, its waivers what is
accepted.

The engine passes the stack's configuration to a pack, as it does to the program; a program other than Groundplan's has
no objectives, and then only critical controls are mandatory.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # loads the SDK
    from policies.control import Control

UNWAIVABLE = "waiver-holds"  # the control of the waivers themselves
SWITCH = "GROUNDPLAN_POLICY_QUICK"  # 1 in the environment of a review's pack only
# In the metadata of a review's AnalyzeStack: judge each resource, too; and in that of the answer: they were judged.
EACH_RESOURCE = "groundplan-each-resource"
LONGEST_DAYS = 400  # a year, and time to renew it
REGIMES = {"gdpr": "GDPR", "hipaa": "HIPAA", "sox": "SOX", "soc2": "SOC 2"}


@dataclass(frozen=True)
class Waiver:
    """An accepted finding, until an expiry date.

    Attributes:
        policy: Id of the control.
        resource: Name of the resource, or a pattern of names (``*``); ``stack`` for a finding about the whole stack.
        expires: Last day on which it is valid.
    """

    policy: str
    resource: str
    reason: str
    approver: str
    expires: datetime.date

    def covers(self, policy: str, resource: str) -> bool:
        """Whether it is about this finding, expired or not."""
        return self.policy == policy and fnmatch.fnmatchcase(resource or "stack", self.resource)

    def expired(self, today: datetime.date) -> bool:
        """Whether its last day is over."""
        return today > self.expires


@dataclass(frozen=True)
class Settings:
    """What the policies know about the stack."""

    regimes: frozenset[str] = frozenset()
    environment: str = ""
    waivers: tuple[Waiver, ...] = ()
    faults: tuple[str, ...] = field(default=())

    @property
    def production(self) -> bool:
        """Whether losing this environment's data would do harm."""
        return bool(re.search(r"(^|[^a-z])prod", self.environment.lower()))

    def applies(self, control: Control) -> bool:
        """Whether the control applies to this stack at all."""
        return self.production or not control.production

    def mandatory(self, control: Control) -> bool:
        """A critical control always is; another one where a regime of the stack requires it."""
        return control.severity == "critical" or bool(control.frameworks & self.regimes)


def read_settings(
    objectives: Mapping[str, Any] | None,
    waivers: Iterable[Any] | None,
    stack: str = "",
    regimes: Iterable[Any] | None = None,
) -> Settings:
    """Settings from ``groundplan:objectives``, ``groundplan:waivers`` and, for programs without objectives,
    ``groundplan:regimes``.

    An invalid waiver, or an unknown regime, is kept as a fault: it does nothing, and is itself a finding.
    """
    wanted = objectives if isinstance(objectives, Mapping) else {}
    named = [str(name).lower().replace(" ", "") for name in (*(wanted.get("compliance") or ()), *(regimes or ()))]
    read: list[Waiver] = []
    faults = [
        f"groundplan:regimes: unknown regime {name!r}; known: {', '.join(REGIMES)}"
        for name in regimes or ()
        if str(name).lower().replace(" ", "") not in REGIMES
    ]
    for index, entry in enumerate(waivers or ()):
        try:
            read.append(_waiver(entry))
        except ValueError as error:
            faults.append(f"groundplan:waivers[{index}]: {error}")
    known = frozenset(REGIMES[name] for name in named if name in REGIMES)
    return Settings(known, str(wanted.get("environment") or stack), tuple(read), tuple(faults))


def _waiver(entry: Any) -> Waiver:
    if not isinstance(entry, Mapping):
        raise ValueError("must have policy, resource, reason, approver, expires")  # noqa: TRY004 (read_settings keeps it)
    known = ("policy", "resource", "reason", "approver", "expires")
    if missing := [key for key in known if not entry.get(key)]:
        raise ValueError(f"{', '.join(missing)} missing")
    if more := [key for key in entry if key not in known]:
        raise ValueError(f"{', '.join(map(str, more))} unknown; known: {', '.join(known)}")
    if str(entry["policy"]) == UNWAIVABLE:
        raise ValueError(f"policy: {UNWAIVABLE} can't be waived")
    if not str(entry["resource"]).strip("*?"):
        raise ValueError(f"resource: {entry['resource']!r} matches everything; name it, or use a narrower pattern")
    try:
        expires = datetime.date.fromisoformat(str(entry["expires"]))
    except ValueError:
        raise ValueError(f"expires: expected a date such as 2027-01-31, got {entry['expires']!r}") from None
    return Waiver(str(entry["policy"]), str(entry["resource"]), str(entry["reason"]), str(entry["approver"]), expires)
