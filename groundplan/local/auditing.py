"""The audit log of the running platform, or of a stack whose outputs are named: shown, verified, exported, proven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundplan.local.home import find_home
from groundplan.local.inside import bare, elsewhere, inside
from pipelines.audit.log import Log, check_proof, kept_states, verify
from pipelines.audit.notes import Checkpoint, Key, WrongNoteError
from pipelines.audit.records import everything, log_of
from pipelines.audit.stores import Folder, store_at
from pipelines.audit.trail import Compared, delivered
from pipelines.audit.trail import compare as compared
from pipelines.audit.tree import leaf_hash
from pipelines.audit.witness import LOG_KEY, WITNESS_KEY, countersign, signer_of
from pipelines.context import Context, load_definition
from spec.errors import GroundplanError, UsageError
from spec.outputs import read

LEAST_OF_A_HASH = 8  # characters


@contextmanager
def reading(outputs: str, caller: str = "person.audit") -> Iterator[Context]:
    """The context of whoever reads the log: in this platform, or a stack whose outputs are named.

    Args:
        caller: What they do, by which the local cloud knows them.
    """
    if not outputs:
        home = find_home()
        with inside(home, caller):
            yield bare(read(str(home.outputs_file)), "")
        return
    yield bare(elsewhere(outputs), "")


def records(model: str, outputs: str) -> list[dict[str, Any]]:
    """The records of a model, or all, checked.

    Raises:
        UsageError: There is no record about the model.
        GroundplanError: The log was changed.
    """
    with reading(outputs) as context:
        found = everything(context)
        name = _named(found, model) if model else ""
    return [entry for entry in found if not name or entry["model"] == name]


def records_of(context: Context, text: str) -> tuple[str, list[dict[str, Any]]]:
    """The model that a user means, by its name, its folder or its script; and its records.

    Raises:
        UsageError: The log has no record about it.
    """
    found = everything(context)
    name = _named(found, text)
    return name, [entry for entry in found if entry["model"] == name]


def _named(found: list[dict[str, Any]], text: str) -> str:
    name, known = Path(text).name, {entry["model"] for entry in found}
    if name not in known:
        with suppress(GroundplanError):  # a folder or a script whose model has another name
            name = load_definition(Path(text)).model
    if name not in known:
        there = ", ".join(sorted(known - {""})) or "none yet"
        raise UsageError(f"the log has no record about {name!r}", where="MODEL", fix=f"models with records: {there}")
    return name


def check(witnesses: list[str], outputs: str) -> dict[str, Any]:
    """What is wrong with the log, and its state.

    Args:
        witnesses: Where others have kept its checkpoints: files, or stores of witnesses.
    """
    with reading(outputs) as context:
        log = log_of(context)
        findings, seen = [asdict(each) for each in verify(log)], []
        for place in witnesses:
            notes, witness = _kept(place)
            findings += [asdict(each) for each in verify(log, notes, witness=witness) if asdict(each) not in findings]
            seen.append({"place": place, "witness": witness.name if witness else "", "states": len(notes)})
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
        "witnesses": seen,
        "findings": findings,
    }


def witness(key: str, name: str, keep: str, log_key: str, outputs: str) -> dict[str, Any]:
    """Countersign the log's state with somebody else's key, and keep it in their store.

    Args:
        log_key: The log's key, or a file with it; empty for the one that is kept, and at first for KMS's.
    """
    with reading(outputs) as context:
        kept, signer = store_at(keep), signer_of(key, name)
        given = key_of(log_key, "--log-key") if log_key else None
        known = kept.read(LOG_KEY)
        trusted = Key.parse(known[0].decode()) if known else given
        if given and trusted != given:
            raise UsageError(f"{keep} is about a log with another key", where="--log-key", fix="name another --keep")
        found = countersign(log_of(context, trusted), kept, signer)
    return {
        "origin": found.state.origin,
        "size": found.state.size,
        "before": found.before,
        "at": datetime.fromtimestamp(found.at, UTC).isoformat(),
        "kept": keep,
        "key": str(signer.key),
    }


def _kept(place: str) -> tuple[list[str], Key | None]:
    """Checkpoints that somebody has kept, and the witness' key where there is one.

    Raises:
        UsageError: There are none.
    """
    if not place.startswith("s3://") and Path(place).is_file():
        return [text_of(Path(place))], None
    store = store_at(place)
    notes, key = kept_states(store), store.read(WITNESS_KEY)
    if not notes:
        raise UsageError("has no checkpoints", where=f"--witness {place}", fix="name a file, or a witness' store")
    return notes, Key.parse(key[0].decode()) if key else None


def key_of(text: str, option: str) -> Key:
    """A public key, or that of a file.

    Raises:
        UsageError: It is none.
    """
    try:
        return Key.parse(text_of(Path(text)) if Path(text).is_file() else text)
    except WrongNoteError as error:
        raise UsageError(f"is no key of a log or a witness: {error}", where=f"{option} {text[:60]}") from None


def text_of(file: Path) -> str:
    """A file's text.

    Raises:
        UsageError: It can't be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't be read ({type(error).__name__})", where=str(file)) from None


def compare(since: datetime, outputs: str) -> Compared:
    """The log beside CloudTrail's."""
    with reading(outputs) as context:
        events = list(delivered(context, since))
        return compared(everything(context), events, context.outputs, since, datetime.now(UTC))


def export(to: Path, outputs: str) -> dict[str, Any]:
    """Write the log into a folder.

    Raises:
        UsageError: There is something of that name.
    """
    if to.exists():
        raise UsageError("is there already", where=f"--to {to}", fix="name a folder that does not exist yet")
    with reading(outputs) as context:
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


def prove(text: str, to: Path | None, witness: str, outputs: str) -> dict[str, Any]:
    """Write a proof of a record, the record and the log's key.

    Args:
        witness: A witness' store; the proof leads to the first state with the record that they have countersigned.

    Raises:
        UsageError: There is no such record, or more than one, or the witness has not seen it yet.
    """
    with reading(outputs) as context:
        log = log_of(context)
        content = log.records()
        number = _number([leaf_hash(record).hex() for record in content], text)
        note, cosigner = _seen_with(number, witness) if witness else ("", None)
        record, proof = content[number], log.proof(number, note)
        size = check_proof(proof, record, log.keys, cosigner).size
    file = to or Path(f"record-{number}.tlog-proof")
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = {"record": file.with_suffix(".json"), "key": file.with_name("log.vkey")}
    file.write_text(proof, encoding="utf-8")
    beside["record"].write_bytes(record)
    beside["key"].write_text(_key(log), encoding="utf-8")
    if cosigner:
        beside["witness_key"] = file.with_name(WITNESS_KEY)
        beside["witness_key"].write_text(f"{cosigner}\n", encoding="utf-8")
    return {"proof": str(file), "number": number, "size": size, **{name: str(path) for name, path in beside.items()}}


def _seen_with(number: int, place: str) -> tuple[str, Key | None]:
    """The first checkpoint with a record that a witness has kept, and the witness' key."""
    notes, key = _kept(place)
    sizes = {Checkpoint.parse(note.partition("\n\n")[0] + "\n").size: note for note in notes}
    later = [size for size in sorted(sizes) if size > number]
    if not later:
        raise UsageError(
            f"the witness has seen {max(sizes)} records, and this is record {number}",
            where=f"--witness {place}",
            fix="have it look again: groundplan audit witness",
        )
    return sizes[later[0]], key


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
