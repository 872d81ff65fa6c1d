"""The audit log in its bucket: written by several at once, brought over from earlier releases, and tampered with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from groundplan.cli.app import app
from groundplan.local.home import Home
from pipelines.audit import records
from pipelines.audit.log import verify
from pipelines.audit.records import append, entries, everything, log_of
from pipelines.audit.stores import Folder
from pipelines.context import Context, load_definition
from pipelines.registry.signing import DECIDED, Signatures
from spec.errors import GroundplanError, UsageError
from spec.outputs import Outputs


@pytest.fixture
def context(outputs: Outputs, tmp_path: Path, aws: Any, inside: None) -> Iterator[Context]:
    """A model in an environment whose log is empty: the audit zone is another bucket."""
    bucket = f"audit-{time.time_ns() % 10**12}"
    aws("s3").create_bucket(Bucket=bucket)
    aws("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    script = tmp_path / "audited.py"
    script.write_text("")
    yield Context(
        outputs.model_copy(update={"buckets": {**outputs.buckets, "audit": bucket}}),
        load_definition(script),
        "r1",
        tmp_path,
    )


def chain(context: Context, model: str, acts: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Lines as an earlier release has written them: time and act of each."""
    previous, lines = "0" * 64, []
    for number, (at, act) in enumerate(acts):
        entry: dict[str, Any] = {
            "sequence": number,
            "time": at,
            "model": model,
            "run": "r0",
            "actor": "pipeline",
            "action": act,
            "details": {"version": f"v1.0.{number}", "unsure": float("nan")},
            "previous": previous,
        }
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        previous = entry["hash"] = hashlib.sha256(canonical.encode()).hexdigest()
        context.put("audit", f"log/{model}/{number:08d}.json", json.dumps(entry).encode())
        lines.append(entry)
    return lines


def test_who_did_what_to_which_model_from_where_is_kept(context: Context) -> None:
    told = append(context, "ada@example.com", "approve", version="v1.0.0", reason="it is better", figure=float("inf"))
    append(replace(context, run="r2"), "pipeline", "promote", version="v1.0.0", verdict="x" * 5_000)
    first, second = entries(context)
    assert first["hash"] == told and first["sequence"] == 0 and first["run"] == "r1" and second["run"] == "r2"
    assert (first["actor"], first["action"], first["model"]) == ("ada@example.com", "approve", "audited")
    assert first["details"] == {"version": "v1.0.0", "reason": "it is better", "figure": "inf"} and first["from"]
    assert second["details"]["verdict"] == "x" * 4_000 + "..."
    log = log_of(context)
    assert log.state().size == 2 and list(verify(log)) == []
    assert entries(replace(context, definition=replace(context.definition, model="other"))) == []


WRITER = """
import sys
from pathlib import Path
from pipelines.audit.records import append
from pipelines.context import Context, load_definition
from pipelines.registry.signing import DECIDED, Signatures
from spec.outputs import read
context = Context(read(sys.argv[1]), load_definition(Path(sys.argv[2])), sys.argv[3], Path("."))
for number in range(10):
    append(context, "writer", "note", number=number)
"""


def test_writers_at_once_lose_nothing(context: Context, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(context.outputs.model_dump_json())
    command = [sys.executable, "-c", WRITER, str(outputs), str(context.definition.script)]
    writers = [subprocess.Popen([*command, f"w{number}"], cwd=Path(__file__).parents[2]) for number in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    found = entries(context)
    assert sorted((each["run"], each["details"]["number"]) for each in found) == [
        (f"w{writer}", number) for writer in range(3) for number in range(10)
    ]
    log = log_of(context)
    assert log.state().size == 30 and list(verify(log)) == []


def test_the_chains_of_earlier_releases_become_the_first_records(context: Context) -> None:
    ours = chain(context, "audited", [("2026-01-01T10:00:00", "register"), ("2026-01-03T10:00:00", "promote")])
    theirs = chain(context, "other", [("2026-01-02T10:00:00", "register")])
    assert [line["hash"] for line in entries(context)] == [line["hash"] for line in ours], "before anything is written"
    append(context, "ben@example.com", "rollback", to="v1.0.0")
    found = everything(context)
    assert [(each["model"], each["action"]) for each in found] == [
        ("audited", "register"),
        ("other", "register"),
        ("audited", "promote"),
        ("audited", "rollback"),
    ]
    assert [each["brought_over"]["hash"] for each in found[:3]] == [ours[0]["hash"], theirs[0]["hash"], ours[1]["hash"]]
    assert records.stack_of(entries(context)) == ["v1.0.1", "v1.0.0"]
    assert list(verify(log_of(context))) == []
    append(context, "ben@example.com", "note")
    assert len(everything(context)) == 5, "they are brought over once"


def test_a_chain_that_was_changed_is_not_brought_over(context: Context) -> None:
    lines = chain(context, "audited", [("2026-01-01T10:00:00", "register"), ("2026-01-03T10:00:00", "promote")])
    lines[0]["actor"] = "somebody"
    context.put("audit", "log/audited/00000000.json", json.dumps(lines[0]).encode())
    for attempt in (lambda: entries(context), lambda: append(context, "ben@example.com", "note")):
        with pytest.raises(GroundplanError, match="the audit log of audited is broken at line 0"):
            attempt()


def test_whoever_may_not_sign_leaves_it_to_the_next(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(arn: str, message: bytes) -> bytes:
        raise records._MayNotSignError

    append(context, "pipeline", "register")
    with monkeypatch.context() as patched:
        patched.setattr(records, "_sign", refuses)
        append(context, "auditor", "note")
    log = log_of(context)
    assert log.state().size == 1 and len(entries(context)) == 2 and list(verify(log)) == []
    append(context, "pipeline", "promote")
    assert log.state().size == 3


def test_a_stack_without_the_log_s_key_still_writes_and_reads(context: Context) -> None:
    keys = {name: arn for name, arn in context.outputs.signing_keys.items() if name != "log"}
    older = replace(context, outputs=context.outputs.model_copy(update={"signing_keys": keys}))
    append(older, "pipeline", "register")
    assert [each["action"] for each in entries(older)] == ["register"]
    append(context, "pipeline", "promote")
    assert log_of(context).state().size == 2, "what was written before is in the tree, too"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tile/entries/000.p/3", "do not lead to its signed root"),
        ("checkpoint", "can't be trusted"),
    ],
)
def test_what_was_changed_is_not_read(name: str, says: str, context: Context) -> None:
    for number in range(3):
        append(context, "ada@example.com", "approve", number=number)
    key = f"tlog/{name}"
    whole = context.get("audit", key)
    context.put("audit", key, whole.replace(b"ada@", b"eve@").replace(b"\n3\n", b"\n2\n"))
    with pytest.raises(GroundplanError, match=says):
        entries(context)
    with pytest.raises(GroundplanError):
        append(context, "ada@example.com", "approve", number=3)
    assert list(verify(log_of(context)))
    context.put("audit", key, whole)
    assert [each["details"]["number"] for each in entries(context)] == [0, 1, 2, 3]


@pytest.mark.drill
@pytest.mark.skipif(shutil.which("go") is None, reason="Tessera's tool is built with Go")
def test_tessera_s_own_tool_verifies_the_log_and_finds_what_was_changed(context: Context, tmp_path: Path) -> None:
    for number in range(300):
        log_of(context).append(b"%d" % number)
    append(context, "ada@example.com", "approve")
    log, folder = log_of(context), Folder(tmp_path / "log")
    for name in log.store.names(""):
        content = log.store.read(name)
        assert content is not None
        folder.write(name, content[0])
    (tmp_path / "log.vkey").write_text(str(log.keys[0]))

    def fsck(seconds: float) -> str:
        """https://github.com/transparency-dev/tessera, cmd/fsck; what it finds wrong it may not get over."""
        tool = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
        where = [f"--storage_url=file://{folder.path}/", f"--public_key={tmp_path / 'log.vkey'}", "--ui=false", "-v=1"]
        process = subprocess.Popen(
            ["go", "run", tool, *where], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            return process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[1]

    root = base64.b64encode(log.state().root).decode()
    assert f"Successfully fsck'd log with size 301 and root {root}" in fsck(300)
    bundle = folder.path / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"\x00\x0217", b"\x00\x0218", 1))
    found = fsck(20)
    assert "Invalid" in found and "Successfully" not in found


def test_the_commands_show_verify_export_and_prove(
    home: Home, outputs: Outputs, inside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / f"commanded-{time.time_ns() % 10**9}.py"
    script.write_text("")
    context = Context(outputs, load_definition(script), "r1", tmp_path)
    told = append(context, "ada@example.com", "approve", version="v1.0.0", reason="it is better")
    monkeypatch.chdir(home.root)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["audit", *arguments])
        assert done.exit_code == code, done.output + str(done.exception)
        return done.output

    shown = run(context.model)
    assert "approve" in shown and "it is better" in shown and told[:12] in shown and shown.count("\n") == 2
    assert run("show", context.model) == shown and run(str(script)) == shown
    assert json.loads(run("--json"))[-1]["hash"] == told
    assert "nothing was changed" in run("verify")
    assert "any tool for https://c2sp.org/tlog-tiles verifies it" in run("export", "--to", str(tmp_path / "log"))
    assert (tmp_path / "log" / "records.jsonl").read_text().count("\n") == len(json.loads(run("--json")))
    proof = str(tmp_path / "one.tlog-proof")
    assert proof in run("prove", told[:12], "--to", proof)
    key, record = str(tmp_path / "log.vkey"), tmp_path / "one.json"
    assert "proven: the record is in" in run("check", proof, "--record", str(record), "--key", key)
    record.write_bytes(record.read_bytes().replace(b"better", b"worse!"))
    assert "not proven" in run("check", proof, "--record", str(record), "--key", key, code=1)
    kept = tmp_path / "witness"
    kept.write_bytes((tmp_path / "log" / "checkpoint").read_bytes())
    assert "nothing was changed" in run("verify", "--witness", str(kept))
    with pytest.raises(UsageError, match="the log has no record about 'nobody'"):
        CliRunner().invoke(app, ["audit", "nobody"], catch_exceptions=False)
    with pytest.raises(UsageError, match="is there already"):
        CliRunner().invoke(app, ["audit", "export", "--to", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"the log has no record 999999"):
        CliRunner().invoke(app, ["audit", "prove", "999999"], catch_exceptions=False)


def test_a_signature_past_the_log_is_found_in_the_trail(
    context: Context, outputs: Outputs, home: Home, inside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Context(outputs, context.definition, "r1", context.reports)
    since = datetime.now(UTC).isoformat()
    ours_signed = Signatures(dict(outputs.signing_keys), ours.calls)
    ours_signed.sign("operations", DECIDED, {"model.tar.gz": "0" * 64}, {})
    append(ours, "ada@example.com", "approve", version="v1.0.0")
    (told,) = [each["calls"] for each in entries(ours)]
    assert [each["call"] for each in told] == ["Sign"] and ours.calls == []
    past = Signatures(dict(outputs.signing_keys))
    past.sign("operations", DECIDED, {"model.tar.gz": "1" * 64}, {})
    ours.calls.append({"call": "UpdateEndpoint", "id": "never-made", "at": datetime.now(UTC).isoformat()})
    append(ours, "ada@example.com", "promote", version="v1.0.0")
    monkeypatch.chdir(home.root)
    until, said = time.monotonic() + 60, ""
    while "never" not in said and time.monotonic() < until:
        time.sleep(1)
        done = CliRunner().invoke(app, ["audit", "compare", "--since", since, "--json"])
        said = done.output
    found = json.loads(said)["findings"]
    assert found, said
    assert done.exit_code == 1
    number = entries(ours)[-1]["sequence"]
    (signature,) = [each for each in found if each["call"] == "Sign"]
    assert signature["kind"] == "trail" and signature["request"] not in {each["id"] for each in told}
    assert [each["says"] for each in found if each["request"] == "never-made"] == [
        f"record {number} (promote) is about a call of UpdateEndpoint that the trail does not have"
    ]


def test_a_witness_of_another_account_countersigns_with_its_own_key(
    outputs: Outputs, home: Home, context: Context, aws: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append(context, "ada@example.com", "approve", version="v1.0.0")
    file, log_key = tmp_path / "outputs.json", str(log_of(context).keys[0])
    file.write_text(context.outputs.model_dump_json())
    role = aws("sts").assume_role(RoleArn="arn:aws:iam::210987654321:role/witness", RoleSessionName="nightly")
    given = role["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", given["SessionToken"])
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    key = boto3.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_EDWARDS25519")["KeyMetadata"]["Arn"]
    assert ":210987654321:key/" in key
    bucket = f"witness-{time.time_ns() % 10**12}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    keep = f"s3://{bucket}/kept"

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["audit", *arguments, "--outputs", str(file)])
        assert done.exit_code == code, done.output + str(done.exception)
        return done.output

    told = ["witness", "--key", key, "--name", "auditor.example.com", "--keep", keep]
    assert "1 records, seen for the first time" in run(*told, "--log-key", log_key)
    assert "continues the 1 that were seen before" in run(*told), "the log's key is known by now"
    proof = tmp_path / "one.tlog-proof"
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    assert "that auditor.example.com has kept" in run("verify", "--witness", keep)
    run("prove", "0", "--to", str(proof), "--witness", keep)
    checked = ["check", str(proof), "--record", str(tmp_path / "one.json"), "--key", log_key]
    done = CliRunner().invoke(app, ["audit", *checked, "--witness-key", str(tmp_path / "witness.vkey")])
    assert "countersigned by auditor.example.com" in done.output, done.output
