"""What a project is held to: regimes, the severity from which a finding fails it, which findings are wanted, waivers.

Stacks of this platform say it by their objectives; any program may say it in ``groundplan.toml`` (or in the table
``[tool.groundplan]`` of its ``pyproject.toml``), and options of the command are added to it::

    regimes = ["gdpr", "soc2"]
    fail-on = "high"
    select = ["encryption at rest", "network exposure"]

    [[waivers]]
    policy = "load-balancer-internal"
    resource = "shop-*"
    reason = "the shop is meant for the public"
    approver = "security@example.com"
    expires = "2027-06-30"
"""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groundplan.review.model import SEVERITIES, Finding
from policies.settings import REGIMES
from spec.errors import UsageError

FILE, TABLE = "groundplan.toml", "tool.groundplan"
NEVER = "never"
_KEYS = ("regimes", "fail-on", "select", "waivers")


@dataclass(frozen=True)
class Demands:
    """What a project is held to beyond its stack's objectives.

    Attributes:
        regimes: Keys of ``policies.settings.REGIMES``.
        fail_on: A severity: findings of it and of worse ones fail the review; ``never``; empty for what regimes and
            controls say themselves.
        select: A finding is wanted if it fits one word of each of these; a word is a family, a severity (and what is
            worse), a framework, or a control's id or a pattern of ids.
        waivers: As in a stack's ``groundplan:waivers``.
    """

    regimes: tuple[str, ...] = ()
    fail_on: str = ""
    select: tuple[tuple[str, ...], ...] = ()
    waivers: tuple[Any, ...] = ()

    def config(self, given: Mapping[str, str]) -> dict[str, str]:
        """A stack's configuration with the regimes and waivers, as the policy pack reads them."""
        found = dict(given)
        for key, more in (("groundplan:regimes", self.regimes), ("groundplan:waivers", self.waivers)):
            if more:
                found[key] = json.dumps([*_listed(found.get(key)), *more], default=str)
        return found

    def judged(self, finding: Finding) -> Finding:
        """The finding, mandatory or not as ``fail_on`` wants it."""
        if not self.fail_on:
            return finding
        if self.fail_on == NEVER:
            return replace(finding, mandatory=False)
        serious = SEVERITIES.index(finding.severity) <= SEVERITIES.index(self.fail_on)
        return replace(finding, mandatory=finding.mandatory or serious)

    def wants(self, policy: str, severity: str, family: str, law: Iterable[str]) -> bool:
        """Whether findings of a control are wanted."""
        return all(any(_fits(word, policy, severity, family, law) for word in words) for words in self.select)


def read_demands(root: Path, *, regimes: Iterable[str] = (), fail_on: str = "", select: Iterable[str] = ()) -> Demands:
    """What the project's file says, with the options of the command.

    Args:
        root: The project's folder.
        fail_on: Instead of the file's.
        select: Words with commas between, each added to the file's.

    Raises:
        UsageError: The file can't be read, has an unknown key or value; or an option has.
    """
    where, written = _file(root)
    for key in written:
        if key not in _KEYS:
            raise UsageError(f"{key} is no setting", where=where, fix=f"the settings are {', '.join(_KEYS)}")
    asked = [_regime(name, f"{where}: regimes") for name in _texts(written, "regimes", where)]
    asked += [_regime(name, "--regime") for name in regimes]
    level = fail_on or written.get("fail-on", "")
    if level not in ("", NEVER, *SEVERITIES):
        raise UsageError(
            f"unknown severity {level!r}",
            where="--fail-on" if fail_on else f"{where}: fail-on",
            fix=f"one of: {', '.join((*SEVERITIES, NEVER))}",
        )
    words = [_texts(written, "select", where)] if written.get("select") else []
    words += [tuple(word.strip() for word in text.split(",") if word.strip()) for text in select]
    waivers = written.get("waivers", [])
    if not isinstance(waivers, list):
        raise UsageError(
            f"waivers is {waivers!r}, not a list", where=where, fix="write each one below a line [[waivers]]"
        )
    return Demands(tuple(asked), str(level), tuple(words), tuple(waivers))


def check_selected(demands: Demands, policies: Iterable[Mapping[str, Any]]) -> None:
    """Each word of a selection means something.

    Args:
        policies: With ``id``, ``family`` and ``law``, as packs have told them.

    Raises:
        UsageError: A word fits no control.
    """
    known = list(policies)
    for word in (word for words in demands.select for word in words):
        if (
            not any(_fits(word, item["id"], "", item["family"], item["law"]) for item in known)
            and word not in SEVERITIES
        ):
            families = sorted({str(item["family"]) for item in known if item["family"]})
            raise UsageError(
                f"nothing is called {word!r}",
                where="--select",
                fix=(
                    f"a severity ({', '.join(SEVERITIES)}), a framework (GDPR, HIPAA, SOX, SOC 2, CIS AWS, FSBP), a"
                    f" control such as s3-* or iam-no-wildcards, or a family: {', '.join(families)}"
                ),
            )


def _fits(word: str, policy: str, severity: str, family: str, law: Iterable[str]) -> bool:
    plain = word.lower()
    if plain in SEVERITIES:
        return severity in SEVERITIES[: SEVERITIES.index(plain) + 1]
    name = REGIMES.get(plain, word).lower()
    if plain == family.lower() or any(f"{reference.lower()} ".startswith(f"{name} ") for reference in law):
        return True
    return fnmatch.fnmatchcase(policy, plain)


def _file(root: Path) -> tuple[str, Mapping[str, Any]]:
    """Where the settings are, and what they say."""
    for name, table in ((FILE, ()), ("pyproject.toml", ("tool", "groundplan"))):
        path = root / name
        if not path.is_file():
            continue
        try:
            found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            if table:  # another tool's matter
                continue
            place = str(error).rpartition("(at line ")[2].partition(",")[0]
            raise UsageError(
                f"is not valid TOML{f' in line {place}' if place.isdigit() else ''}",
                where=str(path),
                fix='write for example regimes = ["gdpr"]',
            ) from None
        for part in table:
            found = found.get(part, {}) if isinstance(found, dict) else {}
        if found or not table:
            return f"{path}{f' [{TABLE}]' if table else ''}", found if isinstance(found, dict) else {}
    return str(root), {}


def _texts(written: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = written.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{key} is {value!r}, not a list of texts", where=where, fix=f'write {key} = ["..."]')
    return tuple(value)


def _regime(name: str, where: str) -> str:
    plain = name.lower().replace(" ", "").replace("-", "")
    if plain not in REGIMES:
        raise UsageError(f"unknown regime {name!r}", where=where, fix=f"one of: {', '.join(REGIMES)}")
    return plain


def _listed(text: str | None) -> list[Any]:
    try:
        found = json.loads(text) if text else []
    except ValueError:
        return []
    return found if isinstance(found, list) else []
