"""What a check finds."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

SEVERITIES = ("critical", "high", "medium", "low")
FAILS_FROM = ("critical", "high", "medium")  # a finding of these is open until it is fixed


@dataclass(frozen=True)
class Flaw:
    """One thing that should be fixed.

    Attributes:
        where: A file and line, a package, an address.
        fix: What to do.
        reference: Where the rule is written down.
    """

    severity: str
    where: str
    says: str
    fix: str
    reference: str = ""


@dataclass(frozen=True)
class Checked:
    """A check, and what it found.

    Attributes:
        name: secrets, packages, image, headers, tls or api.
        did: What was looked at, in words; for one that was not made, why not.
        made: Whether it was made, in full.
    """

    name: str
    did: str
    made: bool = True
    flaws: tuple[Flaw, ...] = ()

    @property
    def open(self) -> int:
        """Findings that must be fixed."""
        return sum(flaw.severity in FAILS_FROM for flaw in self.flaws)


def missing(name: str, *modules: str) -> Checked | None:
    """A check that can't be made, because its tools are not installed; None where they are."""
    lacking = [module.replace("_", "-") for module in modules if importlib.util.find_spec(module) is None]
    if not lacking:
        return None
    return Checked(name, f"needs {', '.join(lacking)}: `make .venv/.installed-test` installs it", made=False)
