"""``groundplan contract check``: contracts validated against the standard, against what the platform can run, and
compared with another git revision.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spec.contracts import Contract
from spec.contracts.compatibility import breaks
from spec.contracts.document import Document, Fault
from spec.contracts.reading import read
from spec.errors import GroundplanError, UsageError
from spec.model_folders import contract_files

_ENDINGS = (".yaml", ".yml", ".json")
_SKIPPED = {".git", ".venv", "node_modules", ".groundplan", "__pycache__"}


@dataclass(frozen=True)
class Checked:
    """One object of a contract, or a file that is not a contract.

    Attributes:
        path: Its file, relative to the project's folder if it is inside it.
        state: ``wrong``, ``valid`` (compared with nothing), ``new``, ``unchanged``, ``compatible`` or ``breaking``.
        before: Version at the other revision; empty where it did not exist.
        reasons: Why it is breaking.
        faults: What must be fixed; per file, so with its first object only.
        notes: What is kept and not enforced, and what is interpreted differently than written; also per file.
    """

    path: str
    id: str
    version: str
    before: str
    state: str
    reasons: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether it must be fixed."""
        return self.state in ("wrong", "breaking")


def check(root: Path, revision: str = "", paths: Sequence[Path] = ()) -> list[Checked]:
    """Contracts, in the order of their files, with all errors of all of them.

    Args:
        revision: Git revision to compare with; empty for none.
        paths: Files, and folders that are searched; none for all of the project's models.

    Raises:
        UsageError: There is no such file or revision, or a folder contains no contract.
    """
    files = found_in(paths) if paths else all_files(root)
    found = [item for path in files for item in _checked(root, path, _Past(path, revision) if revision else None)]
    if not paths and revision:
        found += _gone(root, revision, {item.id for item in found})
    folders = {path.parent.parent if path.parent.name == "contracts" else path.parent for path in files}
    for folder in sorted(folders):
        found += _as_a_model(root, folder, found)
    return found


def found_in(paths: Iterable[Path]) -> list[Path]:
    """Contract files of what the user named: files as they are, folders searched.

    Raises:
        UsageError: A path does not exist, or a folder contains no contract.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            below = [file for file in _files_below(path) if _is_contract(file)]
            if not below:
                raise UsageError(
                    "contains no data contract",
                    where=str(path),
                    fix="a contract is a YAML or JSON file that says `kind: DataContract`",
                )
            found += below
        else:
            raise UsageError("no such file or folder", where=str(path))
    return list(dict.fromkeys(found))


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in _SKIPPED:
            yield from _files_below(path)
        elif path.suffix in _ENDINGS:
            yield path


def _is_contract(file: Path) -> bool:
    """Whether a file declares itself a contract, also one of another format or version."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return file.name.endswith((".odcs.yaml", ".odcs.yml"))
    return (
        "DataContract" in text or "dataContractSpecification" in text or file.name.endswith((".odcs.yaml", ".odcs.yml"))
    )


def in_git(root: Path) -> bool:
    """Whether a folder is under version control, with at least one commit."""
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "HEAD"], cwd=root, capture_output=True, check=False
    )
    return done.returncode == 0


def all_files(root: Path) -> list[Path]:
    """The contract files of every sample model."""
    return [path for folder in sorted(root.glob("models/*")) if folder.is_dir() for path in contract_files(folder)]


class _Past:
    """A contract's file as git has it at a revision.

    Raises:
        UsageError: The file is not in a checkout, or there is no such revision.
    """

    def __init__(self, path: Path, revision: str) -> None:
        self._folder, self._name = path.resolve().parent, path.name
        self._commit = _commit(self._folder, revision)

    def contracts(self) -> tuple[Contract, ...] | None:
        """Its objects; None if it did not exist, or could not be read."""
        return self._at(self._commit)

    def earlier(self) -> list[tuple[Contract, ...]]:
        """All its versions up to the revision, the newest first."""
        commits = _git(self._folder, "log", "--format=%H", self._commit, "--", self._name, where=self._name).split()
        return [found for commit in commits if (found := self._at(commit))]

    def _at(self, commit: str) -> tuple[Contract, ...] | None:
        done = subprocess.run(
            ["git", "show", f"{commit}:./{self._name}"], cwd=self._folder, capture_output=True, text=True, check=False
        )
        return read(Document(self._name, done.stdout)).contracts or None if done.returncode == 0 else None


def _checked(root: Path, path: Path, past: _Past | None) -> list[Checked]:
    """A file's objects."""
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return [Checked(shown, path.stem, "", "", "wrong", faults=(Fault(shown, 0, "", f"can't be read: {why}"),))]
    found = read(Document(shown, text))
    faults, notes = tuple(found.faults), tuple(found.notes)
    if faults:
        return [Checked(shown, path.stem, "", "", "wrong", faults=faults, notes=notes)]
    if broken := [fault for contract in found.contracts if (fault := _not_runnable(shown, contract))]:
        return [Checked(shown, path.stem, "", "", "wrong", faults=tuple(broken), notes=notes)]
    olds = (past.contracts() or ()) if past else ()
    made = [_compared(shown, new, olds, past) for new in found.contracts] or [
        Checked(shown, path.stem, "", "", "valid")
    ]
    known = {contract.object for contract in found.contracts} | {contract.topic for contract in found.contracts}
    made += [
        _lost(shown, old) for old in olds if found.contracts and old.object not in known and old.topic not in known
    ]
    return [Checked(**{**vars(made[0]), "notes": notes}), *made[1:]]


def _not_runnable(path: str, contract: Contract) -> Fault | None:
    """A contract that ingestion could not even begin with: better reported here than by the first event."""
    from pipelines.data.decode import Decoder

    try:
        Decoder(contract).decode([b"{}"])
    except Exception as error:
        return Fault(
            path,
            0,
            contract.object,
            f"no event can be checked against it ({type(error).__name__})",
            "does a bound or a length exceed what its type can hold?",
        )
    return None


def _compared(path: str, new: Contract, olds: tuple[Contract, ...], past: _Past | None) -> Checked:
    old = _same(new, olds)
    if past is None or old is None:
        return Checked(path, new.id, new.version, "", "new" if past else "valid")
    if old == new:
        return Checked(path, new.id, new.version, old.version, "unchanged")
    reasons = breaks(old, new)
    if new.compatibility.endswith("_ALL") or old.compatibility.endswith("_ALL"):
        earlier = [
            found for contracts in past.earlier() if (found := _same(new, contracts)) and found.version != new.version
        ]
        reasons += [why for before in earlier for why in breaks(before, new)]
    reasons = list(dict.fromkeys(reasons))
    return Checked(path, new.id, new.version, old.version, "breaking" if reasons else "compatible", tuple(reasons))


def _same(new: Contract, olds: Iterable[Contract]) -> Contract | None:
    """The previous version of an object: by its name, or by its topic if it was renamed."""
    olds = list(olds)
    return next((old for old in olds if old.object == new.object), None) or next(
        (old for old in olds if old.topic == new.topic), None
    )


def _lost(path: str, old: Contract) -> Checked:
    return Checked(path, old.id, "", old.version, "breaking", ("the contract was removed, and its topic with it",))


def _gone(root: Path, revision: str, ids: set[str]) -> Iterator[Checked]:
    """Contracts of models that were removed; one that was moved is still the same."""
    commit = _commit(root, revision)
    known = _git(root, "ls-tree", "-r", "--name-only", commit, "--", "models", where=str(root)).splitlines()
    there = {str(path.relative_to(root)) for path in all_files(root)}
    for name in sorted(
        name for name in known if (Path(name).name == "contract.yaml" or "/contracts/" in name) and name not in there
    ):
        old = read(Document(name, _git(root, "show", f"{commit}:./{name}", where=name)))
        yield from (_lost(name, contract) for contract in old.contracts if contract.id not in ids)


def _as_a_model(root: Path, folder: Path, found: Sequence[Checked]) -> Iterator[Checked]:
    """What is wrong with a model's contracts together, where each alone is valid: two of one topic, no key for its
    features.
    """
    from spec.model_folders import load_contracts, read_model_file, views_of

    if not (folder / "experiment.py").is_file() and not (folder / "model.yaml").is_file():
        return
    shown = str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)
    if any(item.state == "wrong" and Path(item.path).is_relative_to(shown) for item in found):
        return
    try:
        if contracts := load_contracts(folder):
            views_of(read_model_file(folder), contracts)
    except GroundplanError as error:
        fault = Fault(error.where or shown, 0, "", error.what, error.fix)
        yield Checked(shown, folder.name, "", "", "wrong", faults=(fault,))


def _commit(folder: Path, revision: str) -> str:
    """The commit that a user's revision means."""
    return _git(folder, "rev-parse", "--verify", f"{revision}^{{commit}}", where=f"--against {revision}")


def _git(folder: Path, *arguments: str, where: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["failed"])[-1]
        unknown = f"unknown revision {arguments[-1].removesuffix('^{commit}')!r}"
        raise UsageError(
            unknown if said.endswith("Needed a single revision") else f"git {arguments[0]}: {said}",
            where=where,
            fix="name a revision of this checkout, for example origin/main",
        )
    return done.stdout.strip()


def as_json(found: Sequence[Checked]) -> str:
    """For programs."""
    return json.dumps([asdict(item) for item in found], indent=1)


def as_sarif(found: Sequence[Checked]) -> str:
    """SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/), for code scanning."""
    from importlib.metadata import version

    texts = {
        "contract-valid": ("A data contract conforms to its standard, and the platform can run it", "error"),
        "contract-compatible": ("A data contract changes as its compatibility mode allows", "error"),
        "contract-not-enforced": ("A data contract contains something that the platform does not enforce", "note"),
    }
    rows: list[tuple[str, str, int, str]] = []
    for item in found:
        rows += [
            ("contract-valid", fault.file, fault.line, f"{fault.place}: {fault.says}. {fault.fix}")
            for fault in item.faults
        ]
        rows += [("contract-compatible", item.path, 1, f"{item.id}: {reason}") for reason in item.reasons]
        rows += [
            ("contract-not-enforced", note.file, note.line, f"{note.place}: {note.says}. {note.fix}")
            for note in item.notes
        ]
    results = [_result(rule, texts[rule][1], file, line, text) for rule, file, line, text in rows]
    rules = [
        {
            "id": name,
            "shortDescription": {"text": text},
            "help": {"text": text},
            "defaultConfiguration": {"level": level},
        }
        for name, (text, level) in texts.items()
    ]
    driver = {
        "name": "groundplan",
        "version": version("groundplan"),
        "semanticVersion": version("groundplan"),
        "rules": rules,
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "groundplan/contracts"},
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps(
        {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}, indent=1
    )


def _result(rule: str, level: str, file: str, line: int, text: str) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": quote(Path(file).as_posix())}, "region": {"startLine": max(1, line)}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text.strip(" :.") + "."},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"contract/v1": f"{rule}|{file}|{text}"},
    }


def as_text(found: Sequence[Checked], *, notes: bool = True) -> str:
    """For people: a line for each contract, then its errors and what is kept and not enforced."""
    lines: list[str] = []
    for item in found:
        change = f"{item.before} -> " if item.before not in ("", item.version) else ""
        lines.append(f"{item.state:<10} {item.id} {change}{item.version}".rstrip() + f"  {item.path}")
        lines += [f"           {reason}" for reason in item.reasons]
        lines += [f"           {line}" for fault in item.faults for line in _lines(fault)]
        lines += [f"           {line}" for line in _notes(item.notes)] if notes else []
    bad = sum(item.bad for item in found)
    files = len({item.path for item in found})
    lines.append(
        f"\n{files} file{'s' if files != 1 else ''}, {len(found)} contract{'s' if len(found) != 1 else ''}:"
        f" {f'{bad} to fix' if bad else 'all valid'}"
    )
    return "\n".join(lines)


def _lines(fault: Fault) -> list[str]:
    return [
        f"{f'line {fault.line}: ' if fault.line else ''}{f'{fault.place}: ' if fault.place else ''}{fault.says}"
    ] + ([f"  -> {fault.fix}"] if fault.fix else [])


def _notes(notes: Iterable[Fault]) -> list[str]:
    """What is only kept, in one line; what is interpreted differently than written, one line each."""
    kept = [note.place for note in notes if note.says == "kept, not enforced"]
    lines = [f"not enforced: {', '.join(kept)}"] if kept else []
    return lines + [
        f"note: {line}"
        for note in notes
        if note.says != "kept, not enforced"
        for line in ["; ".join(_lines(note)).replace("  -> ", "")]
    ]
