"""``groundplan contract``: data contracts held against another git revision, and the page of what data there is."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.compatibility import breaks
from infra.contracts import Contract, load_contract, parse_contract
from infra.errors import UsageError
from infra.examples import contract_files


@dataclass(frozen=True)
class Checked:
    """One contract.

    Attributes:
        path: Its file, from the project's folder.
        state: ``new``, ``unchanged``, ``compatible`` or ``breaking``.
        before: Version at the other revision; empty where it was not there.
        reasons: Why it is breaking.
    """

    path: str
    id: str
    version: str
    before: str
    state: str
    reasons: tuple[str, ...] = ()


def check(root: Path, revision: str) -> list[Checked]:
    """Every contract of the examples against its version at a git revision.

    Raises:
        UsageError: A contract is wrong, or there is no such revision.
    """
    commit = _git(root, "rev-parse", "--verify", f"{revision}^{{commit}}", where=f"--against {revision}")
    prefix = _git(root, "rev-parse", "--show-prefix", where=str(root))
    known = _git(root, "ls-tree", "-r", "--name-only", commit, "--", "examples", where=str(root)).splitlines()
    found = [_checked(root, path, commit, prefix, str(path.relative_to(root)) in known) for path in all_files(root)]
    # A contract that was moved is still the same one; one that is gone is for the topic's readers to know.
    gone = {name for name in known if Path(name).name == "contract.yaml" or "/contracts/" in name} - {str(path.relative_to(root)) for path in all_files(root)}
    ids = {item.id for item in found}
    for name in sorted(gone):
        old = _old(root, name, commit, prefix)
        if old.id not in ids:
            found.append(Checked(name, old.id, "", old.version, "breaking", ("the contract is gone, and its topic with it",)))
    return found


def all_files(root: Path) -> list[Path]:
    """Files of every example's contracts."""
    return [path for folder in sorted(root.glob("examples/*")) if folder.is_dir() for path in contract_files(folder)]


def _checked(root: Path, path: Path, commit: str, prefix: str, known: bool) -> Checked:
    new, name = load_contract(path), str(path.relative_to(root))
    if not known:
        return Checked(name, new.id, new.version, "", "new")
    old = _old(root, name, commit, prefix)
    if old == new:
        return Checked(name, new.id, new.version, old.version, "unchanged")
    reasons = tuple(breaks(old, new))
    return Checked(name, new.id, new.version, old.version, "breaking" if reasons else "compatible", reasons)


def _old(root: Path, name: str, commit: str, prefix: str) -> Contract:
    import yaml

    text = _git(root, "show", f"{commit}:{prefix}{name}", where=name)
    return parse_contract(yaml.safe_load(text), f"{name} at {commit[:12]}")


def _git(root: Path, *arguments: str, where: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UsageError(f"git {arguments[0]}: {said[-1] if said else 'failed'}", where=where, fix="name a revision of this checkout, for example origin/main")
    return done.stdout.strip()


def catalogue(root: Path) -> str:
    """The page of all data that comes in: who answers for it, what each field means, what is personal."""
    lines = [
        "<!-- Made by `make docs`. -->",
        "# Data",
        "What comes in on each topic, as its contract says (`examples/*/contracts/`). Personal fields are stored as tokens.",
    ]
    for path in all_files(root):
        contract = load_contract(path)
        personal = ", ".join(f"`{p.name}`" for p in contract.properties if p.personal) or "none"
        level = ", ".join(f"{item.property} {item.value} {item.unit}".strip() for item in contract.slaProperties) or "none given"
        time, file = f", event time `{contract.event_time}`" if contract.event_time else "", path.relative_to(root)
        lines += [
            "",
            f"## {contract.name}",
            f"Topic `{contract.topic}`, version {contract.version}, {contract.compatibility}; key `{contract.key}`{time};",
            f"owner {contract.owner or 'not named'}; service level: {level}; personal fields: {personal}. [`{file}`](../{file})",
            "",
            "| field | type | unit | meaning | allowed |",
            "|---|---|---|---|---|",
        ]
        for item in contract.properties:
            bounds = item.logicalTypeOptions
            allowed = [f"{bounds.minimum} to {bounds.maximum}"] if bounds.minimum is not None and bounds.maximum is not None else []
            allowed += [f"`{bounds.pattern.replace('|', chr(92) + '|')}`"] if bounds.pattern else []
            allowed += [f"up to {bounds.maxLength} characters"] if bounds.maxLength else []
            allowed += [] if item.required else ["may be empty"]
            allowed += ["personal"] if item.personal else []
            allowed += [f"not personal: {item.not_personal.strip().replace('|', chr(92) + '|')}"] if item.not_personal else []
            lines.append(f"| `{item.name}` | {item.logicalType} | {item.unit} | {item.description} | {', '.join(allowed)} |")
    return "\n".join(lines) + "\n"
