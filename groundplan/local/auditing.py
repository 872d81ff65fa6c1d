"""The audit log of the running platform, or of a stack whose outputs are named: shown, verified, exported, proven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundplan.local.asking import bare
from groundplan.local.experiments import elsewhere, inside
from groundplan.local.home import find_home
from pipelines.audit.log import Log, verify
from pipelines.audit.records import everything, log_of
from pipelines.audit.stores import Folder
from pipelines.audit.tree import leaf_hash
from pipelines.context import Context, load_definition
from spec.errors import GroundplanError, UsageError
from spec.outputs import read

LEAST_OF_A_HASH = 8  # characters


@contextmanager
def _reading(outputs: str) -> Iterator[Context]:
    if not outputs:
        home = find_home()
        with inside(home, "person.audit"):
            yield bare(read(str(home.outputs_file)), "")
        return
    yield bare(elsewhere(outputs), "")


def records(model: str, outputs: str) -> list[dict[str, Any]]:
    """The records of a model, or all, checked.

    Raises:
        UsageError: There is no record about the model.
        GroundplanError: The log was changed.
    """
    name = Path(model).name
    with _reading(outputs) as context:
        found = everything(context)
    if name and not any(entry["model"] == name for entry in found):
        with suppress(GroundplanError):  # a folder or a script whose model has another name
            name = load_definition(Path(model)).model
    chosen = [entry for entry in found if not name or entry["model"] == name]
    if name and not chosen:
        there = ", ".join(sorted({entry["model"] for entry in found if entry["model"]})) or "none yet"
        raise UsageError(f"the log has no record about {name!r}", where="MODEL", fix=f"models with records: {there}")
    return chosen


def check(witnessed: list[str], outputs: str) -> dict[str, Any]:
    """What is wrong with the log, and its state.

    Args:
        witnessed: Checkpoints that somebody else has kept.
    """
    with _reading(outputs) as context:
        log = log_of(context)
        findings = [asdict(each) for each in verify(log, witnessed)]
        try:
            state = log.state()
        except GroundplanError:
            state = None
        count = sum(1 for _ in log.store.names("entry/"))
    return {
        "origin": log.origin,
        "records": count,
        "size": state.size if state else 0,
        "root": state.root.hex() if state else "",
        "findings": findings,
    }


def export(to: Path, outputs: str) -> dict[str, Any]:
    """Write the log into a folder.

    Raises:
        UsageError: There is something of that name.
    """
    if to.exists():
        raise UsageError("is there already", where=f"--to {to}", fix="name a folder that does not exist yet")
    with _reading(outputs) as context:
        log = log_of(context)
        content, copy = log.records(), Folder(to)
        for begin in ("checkpoint", "tile/"):
            for name in log.store.names(begin):
                if (found := log.store.read(name)) is not None:
                    copy.write(name, found[0])
    to.mkdir(parents=True, exist_ok=True)
    copy.write("records.jsonl", b"".join(record + b"\n" for record in content))
    copy.write("log.vkey", _key(log).encode())
    return {"folder": str(to), "records": len(content), "key": _key(log).strip()}


def prove(text: str, to: Path | None, outputs: str) -> dict[str, Any]:
    """Write a proof of a record, the record and the log's key.

    Raises:
        UsageError: There is no such record, or more than one.
    """
    with _reading(outputs) as context:
        log = log_of(context)
        content = log.records()
        number = _number([leaf_hash(record).hex() for record in content], text)
        record, proof, size = content[number], log.proof(number), log.state().size
    file = to or Path(f"record-{number}.tlog-proof")
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = {"record": file.with_suffix(".json"), "key": file.with_name("log.vkey")}
    file.write_text(proof, encoding="utf-8")
    beside["record"].write_bytes(record)
    beside["key"].write_text(_key(log), encoding="utf-8")
    return {"proof": str(file), "number": number, "size": size, **{name: str(path) for name, path in beside.items()}}


def _number(hashes: list[str], text: str) -> int:
    by_hash = [number for number, told in enumerate(hashes) if told.startswith(text.lower())]
    if text.isdecimal() and len(text) < LEAST_OF_A_HASH:
        by_hash = [int(text)] if int(text) < len(hashes) else []
    elif len(text) < LEAST_OF_A_HASH:
        raise UsageError(
            f"{text!r} is neither a number nor {LEAST_OF_A_HASH} characters of a hash",
            where="RECORD",
            fix="`groundplan audit show` prints numbers and hashes",
        )
    if len(by_hash) != 1:
        says = f"{len(by_hash)} records begin like {text!r}" if by_hash else f"the log has no record {text}"
        raise UsageError(says, where="RECORD", fix="`groundplan audit show` prints numbers and hashes")
    return by_hash[0]


def _key(log: Log) -> str:
    """The log's key, as its line of a file.

    Raises:
        GroundplanError: The stack has none.
    """
    if not log.keys:
        raise GroundplanError(
            "this stack has no key that signs its log", where="signing_keys", fix="apply the program again"
        )
    return f"{log.keys[0]}\n"
