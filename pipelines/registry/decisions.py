"""Who agreed to a version: each approver's role has a key of its own, and signs the digests of what was registered.

A decision counts only for what it was made about: when the artifact or its record changes, the digests differ and the
approval is void. The rights are IAM's: only the role's own people may use its key.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipelines.audit.records import append, entries, refusals
from pipelines.privacy.redacting import redacted
from pipelines.registry.approved import evidence
from pipelines.registry.signing import DECIDED, NotSignedError, sha256
from pipelines.registry.versions import RECORD, REGISTRATION, Registry, Stored
from spec.errors import GroundplanError, UsageError
from spec.outputs import LOCAL
from spec.versions import Decision

if TYPE_CHECKING:
    from pipelines.context import Context

APPROVE, REJECT = "approve", "reject"
REVIEW_SESSION = "review"  # name of a CI job's session, in which nobody in particular decides


@dataclass(frozen=True)
class Person:
    """Who decides.

    Attributes:
        through: How they were identified, as in ``Decision``.
    """

    name: str
    through: str


def decide(context: Context, version: str, role: str, person: Person, *, approved: bool, reason: str = "") -> Decision:
    """Sign a decision about a version, and keep it with its reason. A later one in the same role replaces it.

    Raises:
        UsageError: There is no such role or version, or a rejection without a reason.
        GroundplanError: The version is not as it was registered, the person is its author, or has decided in another
            role.
    """
    registry = Registry(context)
    with refusals(context, person.name, version=version, role=role):
        if role not in context.outputs.approvals:
            raise UsageError(
                f"unknown role {role!r}", where="--role", fix=f"one of: {', '.join(context.outputs.approvals)}"
            )
        if not approved and not reason.strip():
            raise UsageError("a rejection needs a reason", where="--reason", fix="say what must change")
        stored = registry.stored(version)
        _check_person(registry, stored, role, person)
        decision = Decision(
            role=role,
            approved=approved,
            by=person.name,
            reason=redacted(reason.strip(), {person.name}),
            through=person.through,
            decided_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        )
        envelope = registry.signatures.sign(role, DECIDED, stored.digests, decision.model_dump(mode="json"))
    # The log first: a decision that counts is on record, and an older one that somebody puts back doesn't count.
    append(
        context,
        person.name,
        APPROVE if approved else REJECT,
        version=version,
        role=role,
        reason=decision.reason,
        through=person.through,
        artifact=stored.record.artifact,
        decided_at=decision.decided_at,
        statement=sha256(envelope),
    )
    context.put("models", _key(context.model, version, role), envelope, "application/json")
    return decision


def decisions(registry: Registry, stored: Stored) -> dict[str, Decision]:
    """The decisions that count for a version, by role.

    Raises:
        GroundplanError: One was not signed by its role, or was made about something else.
    """
    found = {}
    name = stored.record.name
    again = f"decide again: groundplan approve {registry.context.definition.asked_for} {stored.record.version}"
    logged = [
        entry["details"]
        for entry in entries(registry.context)
        if entry["action"] in (APPROVE, REJECT) and entry["details"].get("version") == stored.record.version
    ]
    for role in registry.context.outputs.approvals:
        key = _key(stored.record.model, stored.record.version, role)
        try:
            envelope = registry.context.get("models", key)
        except registry.context.s3.exceptions.NoSuchKey:
            continue
        where = f"s3://{registry.context.outputs.buckets['models']}/{key}"
        try:
            digests, said = registry.signatures.verified(role, DECIDED, envelope)
            decision = Decision.model_validate(said)
        except (NotSignedError, ValidationError) as error:
            why = str(error) if isinstance(error, NotSignedError) else "it can't be read"
            raise GroundplanError(f"the decision of {role} about {name} is not valid: {why}", where=where) from None
        if digests != stored.digests or decision.role != role:
            raise GroundplanError(
                f"{decision.by} decided about something else than what {name} is now, so it is void",
                where=where,
                fix=f"{again} --role {role}",
            )
        of_role = [details for details in logged if details.get("role") == role]
        newest = max((str(details.get("decided_at", "")) for details in of_role), default="")
        if decision.decided_at != newest or sha256(envelope) not in {details.get("statement") for details in of_role}:
            raise GroundplanError(
                f"what is stored is not the newest decision of {role} about {name} in the audit log, so it is void",
                where=where,
                fix=f"{again} --role {role}",
            )
        found[role] = decision
    return found


def agreed(context: Context, version: str) -> tuple[Stored, dict[str, Decision]]:
    """A version that every role has approved, verified, with their decisions.

    Raises:
        GroundplanError: An approval is missing, void, or not one of two different people; or somebody has rejected it.
    """
    registry = Registry(context)
    stored = registry.stored(version)
    found = decisions(registry, stored)
    name = f"{context.model} {version}"
    if rejected := [each for each in found.values() if not each.approved]:
        raise GroundplanError(
            f"{rejected[0].by} ({rejected[0].role}) rejected {name}: {rejected[0].reason}",
            where="sign-off",
            fix="register a better version, or have the role decide again",
        )
    if missing := [role for role in context.outputs.approvals if role not in found]:
        raise GroundplanError(
            f"{name} lacks the approval of {' and '.join(missing)}",
            where="sign-off",
            fix=f"groundplan approve {context.definition.asked_for} {version} --role {missing[0]}"
            + (" --identity you@example.com" if context.outputs.stack == LOCAL else ""),
        )
    people = [each.by for each in found.values()]
    if len(set(people)) < len(people):
        raise GroundplanError("one person gave two approvals; the roles must be two people", where=name)
    if len({"@" in who for who in people}) > 1:
        raise GroundplanError(
            f"{' and '.join(people)} can't be told apart: one is an address, the other a login",
            where=name,
            fix="have both approve in the same way, each in their own name or each by a review",
        )
    if stored.record.author in people:
        raise GroundplanError(f"{stored.record.author} approved their own model", where=name)
    return stored, found


def person_who_asks(context: Context, given: str = "") -> Person:
    """Who uses this process: on AWS the session of the assumed role, which IAM names after its user; on one machine
    whoever they say they are.

    Raises:
        UsageError: It is nobody in particular, or somebody else than they say.
    """
    given = unicodedata.normalize("NFKC", given).lower()
    if context.outputs.stack == LOCAL:
        check_identity(given)
        return Person(given, LOCAL)
    import boto3

    arn = str(boto3.client("sts").get_caller_identity()["Arn"])
    match = re.fullmatch(r"arn:[\w-]+:sts::\d+:assumed-role/[\w+=,.@-]+/([\w+=,.@-]+)", arn)
    if match is None:
        raise UsageError(
            "decisions are made in a role of the stack, and these credentials are of none",
            where=arn,
            fix="assume the role with your user's name as the session's name; docs/permissions.md lists the roles",
        )
    who = match[1].lower()
    if who == REVIEW_SESSION:
        raise UsageError("this session stands for a review", where=arn, fix="say which: --review ENVIRONMENT")
    if "@" not in who:
        raise UsageError(
            f"{match[1]} is not an e-mail address, so it can't be compared with a version's author",
            where=arn,
            fix="name IAM users after their addresses",
        )
    if given and given != who:
        raise UsageError(f"--identity says {given}, but the session is {who}'s", where=arn, fix="leave it out")
    return Person(who, arn)


def session_of(context: Context, given: str = "") -> Person:
    """Whose session this is, where it need not be a person: a CI job may release, too.

    Raises:
        UsageError: On one machine, nobody in particular is named.
    """
    if context.outputs.stack == LOCAL:
        return person_who_asks(context, given)
    import boto3

    arn = str(boto3.client("sts").get_caller_identity()["Arn"])
    return Person(arn.rpartition("/")[2], arn)


def check_identity(who: str) -> None:
    """Check that a person is identified by an e-mail address.

    Raises:
        UsageError: It is not an e-mail address.
    """
    if not who.isascii() or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", who):
        said = f"{who!r} is not an e-mail address" if who else "who decides is not said"
        raise UsageError(said, where="--identity", fix="your e-mail address")


def evidence_of(context: Context, version: str) -> bytes:
    """What is published beside a version's files, for servers that check them."""
    registry = Registry(context)
    record, registration = registry.get_file(version, RECORD), registry.get_file(version, REGISTRATION)
    assert record is not None and registration is not None
    return evidence(
        record, registration, {role: envelope_of(context, version, role) for role in context.outputs.approvals}
    )


def envelope_of(context: Context, version: str, role: str) -> bytes:
    """A role's signed decision about a version."""
    return context.get("models", _key(context.model, version, role))


def _key(model: str, version: str, role: str) -> str:
    """In the models zone; the role comes first, so that its people may write below it and nowhere else."""
    return f"approvals/{role}/{model}/{version}.dsse.json"


def _check_person(registry: Registry, stored: Stored, role: str, person: Person) -> None:
    name = stored.record.name
    if not stored.record.author and registry.context.outputs.stack != LOCAL:
        raise GroundplanError(
            f"nobody knows who is the author of {name}, so it could be {person.name}",
            where="sign-off",
            fix="commit the model's code, and register it again",
        )
    if person.name == stored.record.author:
        raise GroundplanError(
            f"{person.name} is the author of {name}; nobody approves or rejects their own model",
            where="sign-off",
            fix="ask a colleague",
        )
    for other, decision in _readable(registry, stored).items():
        if other != role and decision.by == person.name:
            raise GroundplanError(
                f"{person.name} has already decided about {name} in another role; two people must agree",
                where="sign-off",
            )


def _readable(registry: Registry, stored: Stored) -> dict[str, Decision]:
    """The decisions that count; a void one of another role must not keep anybody from deciding."""
    try:
        return decisions(registry, stored)
    except GroundplanError:
        return {}
