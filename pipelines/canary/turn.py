"""Whose turn it is: one canary of a model at a time, and what an interrupted one has left."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pipelines.context import Context
from spec.errors import GroundplanError

BEAT_S = 10.0
ALIVE_S = 45.0  # without a beat, the process that tried the version has ended
_ATTEMPTS = 3
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404")


class TakenBackError(GroundplanError):
    """Somebody else has decided about the version meanwhile; the endpoint is theirs."""


@dataclass
class Turn:
    """The right to change a model's endpoint, held in an object that only its holder can overwrite (S3's conditional
    writes).

    Attributes:
        state: What the canary has reached, for whoever has to continue it.
        settled: Whether the endpoint serves what the audit log says. If it doesn't, the turn stays open, so that the
            next one begins by taking back what was left.
        left: What an interrupted canary has left; empty if there is none.
    """

    context: Context
    version: str
    state: dict[str, Any] = field(default_factory=dict)
    left: dict[str, Any] = field(default_factory=dict)
    settled: bool = True
    _tag: str = ""
    _owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def resumed(self) -> bool:
        """Whether what was left is this run's own canary."""
        return (self.left.get("run"), self.left.get("version")) == (self.context.run, self.version)

    def take(self) -> None:
        """Take the turn.

        Raises:
            GroundplanError: Another version is being tried.
        """
        waited_until = time.monotonic() + ALIVE_S + BEAT_S
        while True:
            found = _read(self.context)
            if found is None:
                if self._write({"IfNoneMatch": "*"}):
                    return
                continue
            document, tag, age_s = found
            own = (document["run"], document["version"]) == (self.context.run, self.version)
            if document["ended"] or age_s > ALIVE_S:
                self.left = {} if document["ended"] else document
                if self._write({"IfMatch": tag}):
                    return
            elif own and time.monotonic() < waited_until:  # perhaps it was killed a moment ago
                time.sleep(1)
            else:
                raise GroundplanError(
                    f"{document['version']} is being tried since {document['since']}, by run {document['run']}",
                    where=self.context.model,
                    fix="wait until it has ended, or take it back with `groundplan rollback`",
                )

    def keep(self, **state: Any) -> None:
        """Note what was reached; call it before each change of the endpoint.

        Raises:
            TakenBackError: The turn is somebody else's by now.
        """
        self.state |= state
        if not self._write():
            found = _read(self.context)
            who = found[0].get("ended_by", "another run") if found else "nobody"
            raise TakenBackError(f"{self.version} was taken back by {who}", where=self.context.model)

    def end(self) -> None:
        """Let others have their turn."""
        if self.settled:
            with suppress(TakenBackError):
                self.keep(ended=True)

    def beat(self, stopped: threading.Event) -> None:
        """Show that the canary goes on, until it is stopped."""
        while not stopped.wait(BEAT_S):
            with suppress(Exception):  # a beat that fails is followed by another one; `keep` reports what is lost
                self._write()

    def _write(self, taking: dict[str, str] | None = None) -> bool:
        """Whether the document was written.

        Args:
            taking: Condition under which the turn is taken; one that is held is the holder's own last write.
        """
        from botocore.exceptions import ClientError

        with self._lock:
            condition = taking or {"IfMatch": self._tag}
            for _ in range(_ATTEMPTS):
                document = {
                    "version": self.version,
                    "run": self.context.run,
                    "owner": self._owner,
                    "since": self._since,
                    "ended": False,
                    **self.state,
                }
                try:
                    self._tag = _write(self.context, document, **condition)
                except ClientError as error:
                    if error.response["Error"]["Code"] not in _REFUSED:
                        raise
                    # Refused by a write of its own, whose answer was lost?
                    found = _read(self.context)
                    if found is None or found[0]["owner"] != self._owner or found[0].get("ended_by"):
                        return False
                    condition = {"IfMatch": found[1]}
                else:
                    return True
        return False


@contextmanager
def turn(context: Context, version: str) -> Iterator[Turn]:
    """A version's turn.

    Raises:
        GroundplanError: Another version is being tried.
    """
    mine, stopped = Turn(context, version), threading.Event()
    mine.take()
    beats = threading.Thread(target=mine.beat, args=(stopped,), daemon=True)
    beats.start()
    try:
        yield mine
    finally:
        stopped.set()
        beats.join()
        mine.end()


def going_on(context: Context) -> dict[str, Any]:
    """What the canary that goes on, or was left, has reached; empty if there is none."""
    found = _read(context)
    return {} if found is None or found[0]["ended"] else found[0]


def take_back(context: Context, who: str) -> None:
    """End the canary that goes on, if one does. Its process finds out before it changes the endpoint again."""
    if found := going_on(context):
        _write(context, {**found, "ended": True, "ended_by": who})


def _key(context: Context) -> str:
    return f"canaries/{context.model}.json"


def _read(context: Context) -> tuple[dict[str, Any], str, float] | None:
    """The document, its tag, and its age in seconds, all by the store's own clock; None if there is none."""
    try:
        answer = context.s3.get_object(Bucket=context.outputs.buckets["models"], Key=_key(context))
    except context.s3.exceptions.NoSuchKey:
        return None
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    age_s = (now - answer["LastModified"]).total_seconds()
    return json.loads(answer["Body"].read()), answer["ETag"], age_s


def _write(context: Context, document: dict[str, Any], **condition: str) -> str:
    answer = context.s3.put_object(
        Bucket=context.outputs.buckets["models"],
        Key=_key(context),
        Body=json.dumps(document).encode(),
        ContentType="application/json",
        **condition,
    )
    return str(answer["ETag"])
