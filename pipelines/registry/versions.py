"""Versions in the models zone: a record, its artifact and its signature, below ``registry/MODEL/VERSION/``.

``record.json`` is written only if it does not exist, so that a number is given once; what is signed are the digests of
record and artifact, so that neither can change afterwards without everything that relies on them refusing it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.audit.records import ERASE, entries
from pipelines.registry.signing import REGISTERED, NotSignedError, Signatures, sha256
from spec.errors import GroundplanError, UsageError
from spec.versions import REGISTRAR, Change, Interface, VersionRecord, numbers

if TYPE_CHECKING:
    from pipelines.context import Context

RECORD, ARTIFACT, EVALUATION = "record.json", "model.tar.gz", "evaluation.tar.gz"
REGISTRATION, ORIGIN, CARD = "registration.dsse.json", "origin.json", "card.html"


class TakenError(Exception):
    """The version exists already."""


@dataclass(frozen=True)
class Stored:
    """A version as it is stored, verified.

    Attributes:
        digests: SHA-256 of record and artifact as they were registered: what approvals are bound to. The artifact may
            have lost rows of people since, which is on record.
        place: ``s3://`` address of its folder.
    """

    record: VersionRecord
    digests: dict[str, str]
    artifact: bytes
    place: str


class Registry:
    """A model's versions in one environment."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.model = context.model

    @cached_property
    def signatures(self) -> Signatures:
        """The stack's keys."""
        return Signatures(dict(self.context.outputs.signing_keys), self.context.calls)

    def key(self, version: str, name: str = "") -> str:
        """Where a file of a version is stored in the models zone."""
        return f"registry/{self.model}/{version}/{name}"

    def address(self, version: str, name: str = "") -> str:
        """The same as an ``s3://`` address."""
        return f"s3://{self.context.outputs.buckets['models']}/{self.key(version, name)}"

    def versions(self) -> list[str]:
        """Every version that has a number, the oldest first."""
        return self._with(RECORD)

    def unsigned(self) -> list[str]:
        """Versions whose registration was interrupted, the oldest first."""
        signed = set(self._with(REGISTRATION))
        return [version for version in self.versions() if version not in signed]

    def _with(self, file: str) -> list[str]:
        prefix = f"registry/{self.model}/"
        parts = [key.removeprefix(prefix).split("/") for key in self.context.keys("models", prefix)]
        found = {part[0] for part in parts if part[1:] == [file] and numbers(part[0])}
        return sorted(found, key=lambda name: numbers(name) or ())

    def record(self, version: str) -> VersionRecord:
        """A version's record, not verified.

        Raises:
            UsageError: There is no such version; the message lists those that exist.
            GroundplanError: Its record can't be read.
        """
        content = self.get_file(version, RECORD)
        if content is None:
            raise UsageError(
                f"{self.model} has no version {version}",
                where="registry",
                fix=f"one of: {', '.join(self.versions()) or 'none yet'}",
            )
        try:
            found = VersionRecord.model_validate_json(content)
        except ValidationError:
            raise GroundplanError(
                f"the record of {self.model} {version} can't be read",
                where=self.address(version, RECORD),
                fix=_RESTORE,
            ) from None
        if (found.model, found.version) != (self.model, version):
            raise GroundplanError(
                f"the record of {self.model} {version} is that of {found.name}",
                where=self.address(version, RECORD),
                fix=_RESTORE,
            )
        return found

    def add(
        self,
        record: VersionRecord,
        artifact: bytes,
        evaluation: bytes = b"",
        *,
        content: bytes = b"",
        released_from: dict[str, str] | None = None,
    ) -> None:
        """Store a version and sign it; one that is signed stays as it is.

        Args:
            evaluation: What it was judged on.
            content: The record as it is stored elsewhere; by default it is written anew.
            released_from: The environment that it comes from.

        Raises:
            TakenError: The version exists, with another record.
            GroundplanError: Artifact or evaluation are not those in the record.
        """
        content = content or record.model_dump_json(indent=1).encode()
        digests = {RECORD: sha256(content), ARTIFACT: sha256(artifact)}
        if digests[ARTIFACT] != record.artifact or (record.evaluation and sha256(evaluation) != record.evaluation):
            raise GroundplanError(
                f"the model is not the one that {record.name} was registered with", where=self.address(record.version)
            )
        try:
            self.put_file(record.version, RECORD, content, once=True)
        except TakenError:
            if self.get_file(record.version, RECORD) != content:
                raise
            if self.get_file(record.version, REGISTRATION) is not None:
                return
        self.put_file(record.version, ARTIFACT, artifact)
        if evaluation:
            self.put_file(record.version, EVALUATION, evaluation)
        said: dict[str, Any] = {
            "purl": f"pkg:mlflow/{record.model}@{record.version}",
            "releaseId": record.lineage.get("run_id", ""),
            **({"releasedFrom": released_from} if released_from else {}),
        }
        self.put_file(record.version, REGISTRATION, self.signatures.sign(REGISTRAR, REGISTERED, digests, said))

    def stored(self, version: str) -> Stored:
        """A version, verified: record and artifact are those that were registered.

        Raises:
            UsageError: There is no such version.
            GroundplanError: It was never signed, or something was changed after that.
        """
        record = self.record(version)
        place, name = self.address(version), f"{self.model} {version}"
        content, artifact = self.get_file(version, RECORD), self.get_file(version, ARTIFACT)
        envelope = self.get_file(version, REGISTRATION)
        if envelope is None:
            raise GroundplanError(
                f"{name} is not signed: its registration was interrupted, or did not come from the pipeline",
                where=place,
                fix="register it again: run the pipeline",
            )
        try:
            digests, _ = self.signatures.verified(REGISTRAR, REGISTERED, envelope)
        except NotSignedError as error:
            raise GroundplanError(f"the signature of {name} is not valid: {error}", where=place) from None
        actual = {RECORD: sha256(content or b""), ARTIFACT: sha256(artifact or b"")}
        erased = self.erased(version) if actual != digests else {}
        if changed := [file for file in actual if actual[file] not in (digests.get(file), erased.get(file))]:
            raise GroundplanError(
                f"{name} was changed after it was registered: {' and '.join(changed)}"
                f" {'is' if len(changed) == 1 else 'are'} not what was signed",
                where=place,
                fix=_RESTORE,
            )
        assert artifact is not None
        return Stored(record, {file: digests[file] for file in actual}, artifact, place)

    def erased(self, version: str) -> dict[str, str]:
        """SHA-256 of those of a version's files from which a person's data was erased, as the audit log has them."""
        found: dict[str, str] = {}
        for entry in entries(self.context):
            if entry["action"] == ERASE and entry["details"].get("version") == version:
                found |= entry["details"]["files"]
        return found

    def put_file(self, version: str, name: str, content: bytes, *, once: bool = False) -> str:
        """Store a file of a version; returns its address.

        Args:
            once: Only if it does not exist.

        Raises:
            TakenError: It exists.
        """
        from botocore.exceptions import ClientError

        try:
            self.context.s3.put_object(
                Bucket=self.context.outputs.buckets["models"],
                Key=self.key(version, name),
                Body=content,
                ContentType=_CONTENT_TYPES.get(name.rpartition(".")[2], "application/json"),
                **({"IfNoneMatch": "*"} if once else {}),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            raise TakenError(f"{self.model} {version} exists already") from None
        return self.address(version, name)

    def get_file(self, version: str, name: str) -> bytes | None:
        """A file of a version; None where it has none."""
        return self.context.read("models", self.key(version, name))


_RESTORE = "restore the object's first version (the bucket keeps it), or register a new version"
_CONTENT_TYPES = {"gz": "application/gzip", "html": "text/html; charset=utf-8"}


def next_version(
    latest: VersionRecord | None, interface: Interface, recipe: dict[str, str], taken: list[str]
) -> tuple[str, Change]:
    """The semantic version that follows the latest one, and why.

    The major number rises when inputs or outputs change, since clients must then change; the minor one when the way it
    is made does: the source of its data, its parameters, its code; the patch number when it was trained again in the
    same way, for example on newer rows.

    Args:
        taken: Versions that exist, with or without a record.
    """
    known = [found for name in taken if (found := numbers(name))]
    if not known:
        return "v1.0.0", Change.FIRST
    major, minor, patch = max(known)
    if latest is not None and not _alike(latest.interface, interface):
        return f"v{major + 1}.0.0", Change.MAJOR
    if latest is None or latest.recipe != recipe:
        return f"v{major}.{minor + 1}.0", Change.MINOR
    return f"v{major}.{minor}.{patch + 1}", Change.PATCH


def _alike(one: Interface, other: Interface) -> bool:
    """The same, including the order of columns: clients may send rows without names."""
    return list(one.inputs.items()) == list(other.inputs.items()) and one.outputs == other.outputs


def other_answers(theirs: Interface, ours: Interface) -> str:
    """Why what two versions answer can't be compared row by row, of the first one; empty where it can."""
    one, other = theirs.outputs, ours.outputs
    if one["task"] != other["task"]:
        return f"it is a {one['task']}, and this a {other['task']}"
    if one["classes"] != other["classes"]:
        said, now = (", ".join(map(str, each["classes"])) for each in (one, other))
        return f"it answers with other classes: {said} instead of {now}"
    return ""


def interface_of(described: dict[str, Any]) -> Interface:
    """What requests and answers of a served model look like.

    Args:
        described: Its ``model.json``.
    """
    return Interface(
        inputs={column["name"]: column["type"] for column in described["columns"]},
        outputs={
            "task": described["task"],
            # As JSON has them, so that a record that was read again compares equal
            "classes": json.loads(json.dumps(described.get("classes", []), default=str)),
            "targets": described.get("targets", []),
            "beside": described.get("output", ""),
        },
    )
