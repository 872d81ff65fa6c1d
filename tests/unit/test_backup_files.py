"""What is refused as a backup, and in which words."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from groundplan.local.backup import FORMAT, MANIFEST, unplain
from groundplan.local.backup import _plain as plain
from groundplan.local.home import Home
from groundplan.local.restoring import _NEEDED, FromBackup, _renamed, _replaced, opened
from spec.errors import GroundplanError, UsageError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing


def written(path: Path, members: dict[str, bytes], told: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**dict.fromkeys(_NEEDED, b""), **members}.items():
            archive.writestr(name, content)
        archive.writestr(MANIFEST, told if isinstance(told, bytes) else json.dumps(told))
    return path


def of(**digests: str) -> dict[str, Any]:
    told = dict.fromkeys(("taken_at", "stack", "project", "region", "account_id", "not_backed_up"), "")
    return {"format": FORMAT, **told, "sha256": {**dict.fromkeys(_NEEDED, EMPTY), **digests}}


@pytest.mark.parametrize(
    ("members", "told", "says"),
    [
        ({"objects": b"x"}, of(objects=EMPTY), "is damaged: objects was changed; nothing was restored"),
        ({}, of(objects=EMPTY), "is damaged: objects is missing; nothing was restored"),
        ({"objects.json": b"[]"}, of(), "is damaged: objects.json was changed; nothing was restored"),
    ],
)
def test_what_was_changed_is_named(tmp_path: Path, members: dict[str, bytes], told: Any, says: str) -> None:
    with pytest.raises(GroundplanError) as caught:
        opened(written(tmp_path / "b.zip", members, told))
    assert caught.value.what == says and caught.value.where == str(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (b"no json", "is no backup"),
        ({"sha256": {}}, "is no backup"),
        ({"format": FORMAT, "sha256": {}}, "is no backup: it has no asked.json, buckets.json, keys.json"),
        ({key: value for key, value in of().items() if key != "stack"}, "is no backup: it has no stack"),
        ([], "is no backup"),
        ({"format": FORMAT + 1, "sha256": {}}, f"is a backup of format {FORMAT + 1}, and this release reads format"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, told: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        opened(written(tmp_path / "b.zip", {}, told))


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "b.zip", {"objects": b"x" * 10_000}, of())
    for length in (0, 100, whole.stat().st_size - 30):
        cut = tmp_path / f"{length}.zip"
        cut.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(GroundplanError, match=r"is damaged, or no backup; nothing was restored"):
            opened(cut)


def test_a_byte_that_was_changed_is_found(tmp_path: Path) -> None:
    """Wherever it is: in a member's content, in its header or in the file's directory."""
    content = bytes(range(256)) * 4
    from hashlib import sha256

    whole = written(tmp_path / "b.zip", {"objects": content}, of(objects=sha256(content).hexdigest()))
    assert opened(whole).bytes("objects") == content
    found = 0
    for place in range(60, whole.stat().st_size, 41):
        changed = bytearray(whole.read_bytes())
        changed[place] ^= 0xFF
        (tmp_path / "c.zip").write_bytes(changed)
        try:
            backup = opened(tmp_path / "c.zip")
        except GroundplanError:
            found += 1
        else:  # a byte that means nothing, such as a time in a header
            assert backup.bytes("objects") == content
    assert found > 20


@pytest.mark.parametrize("name", ["nothing.zip", "."])
def test_what_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't be read") as caught:
        opened(tmp_path / name)
    assert "groundplan backup" in caught.value.fix


def test_bytes_and_times_survive_json() -> None:
    items = [{"id": {"B": b"\x00\xff"}, "n": {"N": "1"}}, {"base64 of bytes": "no", "and": "more"}]
    assert json.loads(json.dumps(items, default=plain), object_hook=unplain) == items


def test_what_an_environment_numbers_anew_is_replaced() -> None:
    arn = "arn:aws:kms:eu-central-1:123456789012:key"
    before = {"keys": {"models": f"{arn}/1"}, "subnets": ["subnet-a", "subnet-b"], "served": "realtime", "gone": "x"}
    now = {"keys": {"models": f"{arn}/2"}, "subnets": ["subnet-c", "subnet-d"], "served": "serverless", "new": "y"}
    config = {"KmsKeyId": f"{arn}/1", "Network": ["subnet-a", "subnet-b"], "Weight": 1.0, "Name": "realtime"}
    assert _replaced(config, _renamed(before, now)) == {
        "KmsKeyId": f"{arn}/2",
        "Network": ["subnet-c", "subnet-d"],
        "Weight": 1.0,
        "Name": "realtime",  # a word that has changed is no identifier
    }


def test_a_file_outside_the_platform_s_folder_is_refused(tmp_path: Path) -> None:
    name = "files/../../elsewhere"
    backup = opened(written(tmp_path / "b.zip", {name: b""}, of(**{name: EMPTY})))
    with pytest.raises(GroundplanError, match="outside the platform's folder"):
        FromBackup(backup).files(Home(tmp_path / "project"))
    assert not (tmp_path / "elsewhere").exists()
