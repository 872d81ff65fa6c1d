"""Whether files are those of a version that was registered and approved: for servers, which have nothing but the files
and what was published beside them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from pydantic import ValidationError

from pipelines.registry.signing import DECIDED, REGISTERED, NotSignedError, Signatures, sha256
from pipelines.serving.models.bundle import BACKGROUND
from spec.versions import LOGGER, REGISTRAR, Decision, VersionRecord

APPROVED = "approved.json"
KEYS = "GROUNDPLAN_SIGNING_KEYS"  # JSON object: ARN of the KMS key or alias by signer
_RECORD = "record.json"


class NotApprovedError(ValueError):
    """The files are not those of an approved version; the message says why."""


def evidence(record: bytes, registration: bytes, decisions: dict[str, bytes]) -> bytes:
    """What is published beside a version's files.

    Args:
        decisions: The signed decision of each role.
    """
    told = {
        "record": record.decode(),
        "registration": json.loads(registration),
        "decisions": {role: json.loads(envelope) for role, envelope in decisions.items()},
    }
    return json.dumps(told).encode()


def check(files: dict[str, bytes], told: bytes, signatures: Signatures) -> None:
    """Check a version's files against what was signed about them; ``background.json`` is left out, from which people's
    rows may be erased.

    Raises:
        NotApprovedError: They are others, or were not approved by every role that has a key.
    """
    try:
        found: dict[str, Any] = json.loads(told)
        content = str(found["record"]).encode()
        record = VersionRecord.model_validate_json(content)
        digests, _ = signatures.verified(REGISTRAR, REGISTERED, json.dumps(found["registration"]).encode())
        if digests.get(_RECORD) != sha256(content):
            raise NotApprovedError("its record is not the one that was registered")
        for role in sorted(set(signatures.keys) - {LOGGER, REGISTRAR}):
            envelope = json.dumps(found["decisions"][role]).encode()
            about, said = signatures.verified(role, DECIDED, envelope)
            if about != digests or not Decision.model_validate(said).approved:
                raise NotApprovedError(f"{role} has not approved this version")
    except NotSignedError as error:
        raise NotApprovedError(str(error)) from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, NotApprovedError):
            raise
        what = "its record can't be read" if isinstance(error, ValidationError) else "its approvals are not beside it"
        raise NotApprovedError(what) from None
    actual = {name: sha256(body) for name, body in files.items() if name != BACKGROUND}
    known = {name: digest for name, digest in record.files.items() if name != BACKGROUND}
    if actual != known:
        names = sorted({name for name in {*actual, *known} if actual.get(name) != known.get(name)})
        raise NotApprovedError(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not what was approved")


def keys_from_environment() -> Signatures | None:
    """The keys that this process checks with; None where it is told none."""
    told = os.environ.get(KEYS, "")
    return Signatures(json.loads(told)) if told else None
