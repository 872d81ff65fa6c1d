"""The permissions of a stack, for users and for the review."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.engine.kubernetes.connections import wanted
from groundplan.review.model import Finding
from groundplan.review.permissions.check import Result, Unused, check, roles_of, unused
from groundplan.review.permissions.matrix import DEEDS, Row, matrix
from groundplan.review.permissions.record import FILE, Call, read
from groundplan.review.permissions.stack import Made, Stack, stack_of
from policies.iam import Policy
from policies.iam import read as read_policy
from spec.errors import UsageError
from spec.names import HOME

if TYPE_CHECKING:
    from groundplan.local.home import Home

_LAW = ("GDPR 32(4)", "HIPAA 164.312(a)(1)", "SOX 404", "SOC 2 CC6.3")
_MARKS = {"allowed": "yes", "denied": "", "undecided": "?"}


@dataclass(frozen=True)
class Permissions:
    """The permissions of a stack.

    Attributes:
        results: Each need of each recorded call, for each role that makes it.
        left: Grants that no call used.
        rows: Roles and operations.
    """

    stack: Stack
    calls: tuple[Call, ...]
    results: tuple[Result, ...]
    left: tuple[Unused, ...]
    rows: tuple[Row, ...]
    resources: tuple[Made, ...] = ()

    @property
    def refused(self) -> list[Result]:
        """Needs that AWS would refuse."""
        return [result for result in self.results if result.decision.outcome == "denied"]

    @property
    def undecided(self) -> list[Result]:
        """Needs that can't be decided."""
        return [result for result in self.results if result.decision.outcome == "undecided"]

    @property
    def faults(self) -> list[str]:
        """Operations that a role may do but should not, or the other way round."""
        return [fault for row in self.rows for fault in row.faults]

    @property
    def may(self) -> tuple[str, ...]:
        """The matrix as sentences, to compare with another revision's."""
        return tuple(
            f"{row.role} may {deed}" for row in self.rows for deed, outcome in row.may.items() if outcome == "allowed"
        )

    def document(self) -> dict[str, Any]:
        """For programs."""

        def shown(result: Result) -> dict[str, Any]:
            need, decision = result.need, result.decision
            return {
                "who": result.who,
                "operation": result.operation,
                "role": result.role,
                "action": need.action,
                "resource": need.resource,
                "because": need.because,
                "outcome": decision.outcome,
                "reason": decision.reason,
            }

        return {
            "stack": self.stack.name,
            "calls": len(self.calls),
            "results": [shown(result) for result in self.results],
            "unused": [{"role": item.role, "grants": list(item.actions)} for item in self.left],
            "matrix": [{**asdict(row), "wanted": sorted(row.wanted), "faults": row.faults} for row in self.rows],
        }


def permissions(
    resources: Sequence[Made],
    project: str,
    stack: str,
    account: str,
    region: str,
    service_control: tuple[Policy, ...] = (),
) -> Permissions:
    """Evaluate the record of calls against the resources of a stack.

    Args:
        resources: With the values of a deployment (``groundplan.review.permissions.deployed``).
        service_control: Policies of the organization.
    """
    found, calls = stack_of(resources, project, stack, account, region), tuple(read())
    found.service_control = service_control
    results = tuple(check(found, calls, resources))
    return Permissions(found, calls, results, tuple(unused(found, results)), tuple(matrix(found)), tuple(resources))


def findings(found: Permissions, sources: dict[str, str]) -> Iterator[Finding]:
    """What the review reports.

    Args:
        sources: ``file:line`` by URN.
    """
    roles = {role.name: role.source for role in found.stack.roles.values()}
    for result in found.refused:
        role = roles[result.role]
        because = f"; {result.need.because}" if result.need.because else ""
        yield Finding(
            policy="iam-call-refused",
            title="Every call that the platform makes is allowed",
            severity="high",
            mandatory=True,
            resource=role.name,
            type=role.type,
            urn=role.urn,
            message=(
                f"{result.who}: {result.need.action} on {result.need.resource} would be refused:"
                f" {result.decision.reason}{because}"
            ),
            remediation=(
                "Allow it on that resource; or, if it is no longer called, refresh the record with `make calls`."
            ),
            law=_LAW,
            url="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html",
            source=sources.get(role.urn, ""),
        )
    for item in found.left:
        yield Finding(
            policy="iam-grant-unused",
            title="Roles are allowed only what is used",
            severity="low",
            mandatory=False,
            resource=item.source.name,
            type=item.source.type,
            urn=item.source.urn,
            message=f"No recorded call used {'; '.join(item.actions)}",
            remediation="Remove it, or add its user to the record.",
            law=_LAW,
            url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
            source=sources.get(item.source.urn, ""),
        )
    for row in found.rows:
        for fault in row.faults:
            role = roles.get(f"{found.stack.prefix}-{row.role}") or roles[row.role]
            yield Finding(
                policy="iam-role-as-meant",
                title="Roles may do only what they are for",
                severity="high",
                mandatory=True,
                resource=role.name,
                type=role.type,
                urn=role.urn,
                message=fault,
                remediation=(
                    "Change the role; or, if this is intended, the expected permissions in"
                    " groundplan/review/permissions/matrix.py."
                ),
                law=_LAW,
                url="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html",
                source=sources.get(role.urn, ""),
            )


def page(found: Permissions, namespaces: Iterable[str]) -> str:
    """The documentation page: who may do what, what is called, and what pods may reach.

    Args:
        namespaces: Of the cluster.
    """
    lines = [
        "# Who may do what",
        "",
        (
            f"Generated by `make docs` from what the program creates for the stack {found.stack.name};"
            " `tests/review/test_permissions.py` checks it."
        ),
        (
            "*yes*: AWS's documented evaluation of every policy that applies (the role's own, its permission boundary,"
            " the bucket's, the key's) allows it."
        ),
        "A change to this table is part of every review (`groundplan review --against REV`).",
        "",
        "| role | " + " | ".join(DEEDS) + " |",
        "|---" * (len(DEEDS) + 1) + "|",
    ]
    lines += [f"| {row.role} | " + " | ".join(_MARKS[row.may[deed]] for deed in DEEDS) + " |" for row in found.rows]
    lines += [
        "",
        (
            "Nobody may delete raw events: they are locked until their retention ends. Roles are assumed by people"
            " with a second factor and by"
        ),
        "the services that their trust policies name, so no role assumes another.",
        "",
        "| role | decrypts data of class | passes on |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row.role} | {', '.join(row.keys) or '-'} | {', '.join(row.passes) or '-'} |"
        for row in found.rows
        if row.keys or row.passes
    ]
    lines += [
        "",
        "## What is called",
        "",
        (
            f"`groundplan/review/permissions/calls.json` records {len(found.calls)} different calls of steps, servers"
            " and people's commands, taken from"
        ),
        (
            "local runs (`make calls`). Each is mapped to the actions, resources and condition keys of the Service"
            " Authorization Reference,"
        ),
        "together with what else it requires (the key that",
        "encrypts the object, the role that is passed on), and",
        (
            f"evaluated for every role that makes it: {len(found.results)} checks, {len(found.refused)} refused,"
            f" {len(found.undecided)} undecided."
        ),
        "",
        "| who | on AWS as | actions |",
        "|---|---|---|",
    ]
    for who in sorted({result.who for result in found.results}):
        own = [result for result in found.results if result.who == who]
        roles = sorted({result.role.removeprefix(f"{found.stack.prefix}-") for result in own})
        lines.append(f"| {who} | {', '.join(roles)} | {', '.join(sorted({result.need.action for result in own}))} |")
    lines += ["", "## Grants that no call used", ""]
    lines += [
        f"- {item.role.removeprefix(f'{found.stack.prefix}-')}: {'; '.join(item.actions)}" for item in found.left
    ] or ["None."]
    lines += [
        "",
        "## What pods may call",
        "",
        (
            "Network policies close every namespace except for these connections. A review checks the policies against"
            " this table."
        ),
        "",
        "| from | to | ports | why |",
        "|---|---|---|---|",
    ]
    known = {*namespaces}
    for item in wanted(sorted(known)):
        if {item.source, item.target} & known:
            target = "everything" if item.target == "*" else item.target
            lines.append(f"| {item.source} | {target} | {', '.join(map(str, item.ports)) or 'any'} | {item.why} |")
    lines += [
        "",
        "## What this does not cover",
        "",
        (
            "Kafka's protocol (MSK's own permissions), what people do in consoles, what AWS does itself with a role"
            " that a service is"
        ),
        "given, the deployment's own role, and the charts (Karpenter, KServe, Prometheus), which are not rendered.",
        "Only a real account can show that AWS evaluates policies as documented.",
    ]
    return "\n".join(lines) + "\n"


def of_project(root: Path, stack: str, service_control: Iterable[Path] = ()) -> Permissions:
    """The permissions of one of this project's stacks.

    Args:
        service_control: Files of policies of the organization, one per level.

    Raises:
        UsageError: The objectives are invalid or can't be met, or a file contains no policy.
    """
    from groundplan.engine.program import project_name
    from groundplan.review.permissions.deployed import deployed
    from spec.objectives import load

    config = load(root, stack)
    return permissions(
        deployed(root, stack),
        project_name(root),
        stack,
        config.account_id,
        config.region,
        tuple(map(_policy_in, service_control)),
    )


def _policy_in(path: Path) -> Policy:
    try:
        return read_policy(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = (
            f"can't be read: {error.strerror}"
            if isinstance(error, OSError)
            else str(error).removeprefix(f"{path.name}: ")
        )
        raise UsageError(
            why, where=str(path), fix="name a file with a policy in AWS Organizations' JSON format"
        ) from None


def page_of(root: Path, stack: str) -> str:
    """The page of a stack."""
    found = of_project(root, stack)
    namespaces = [
        item.inputs["metadata"]["name"] for item in found.resources if item.type == "kubernetes:core/v1:Namespace"
    ]
    return page(found, namespaces)


def of_platform(home: Home) -> list[Call]:
    """The calls that the running local platform has seen.

    Raises:
        UsageError: Nothing is running.
    """
    from groundplan.engine.program import project_name
    from groundplan.local.inside import running
    from groundplan.local.moto.aws import client
    from groundplan.review.permissions.record import Names, of_running
    from spec.objectives import load

    state = running(home)
    project = project_name(home.root)
    prefix, aws = f"alias/{project}-{state.stack}-", state.services["aws"].url
    pages = client("kms", aws, state.region).get_paginator("list_aliases").paginate()
    keys = {
        item["TargetKeyId"]: item["AliasName"].removeprefix(prefix)
        for page in pages
        for item in page["Aliases"]
        if item["AliasName"].startswith(prefix)
    }
    names = Names(project, state.stack, load(home.root, state.stack).account_id, state.region, keys)
    return of_running(aws, state.services["router"].url, home.kafka_calls, names)


def print_permissions(found: Permissions) -> None:
    """To standard output."""
    from rich.markup import escape

    from groundplan import terminal

    console = terminal.console()
    console.print(f"[bold]Who may do what on stack {found.stack.name}[/bold]")
    for row in found.rows:
        may = [deed for deed in DEEDS if row.may[deed] == "allowed"]
        told = [
            (
                f"decrypt {', '.join(row.keys)}"
                if deed == "decrypt"
                else f"pass {', '.join(row.passes)}"
                if deed == "pass roles"
                else deed
            )
            for deed in may
        ]
        console.print(f"  {row.role:18} {escape('; '.join(told)) or '[dim]none of it[/dim]'}")
    console.print(
        f"\n{len(found.calls)} recorded calls, {len(found.results)} checks: {len(found.refused)} refused,"
        f" {len(found.undecided)} undecided"
    )
    for word, results in (("refused", found.refused), ("undecided", found.undecided)):
        for item in results:
            because = f"; {item.need.because}" if item.need.because else ""
            console.print(
                f"{word}: {item.who} as {item.role}: {item.need.action} on {escape(item.need.resource)}:"
                f" {escape(item.decision.reason + because)}"
            )
    for fault in found.faults:
        console.print(f"not as intended: {fault}")
    for left in found.left:
        console.print(f"[dim]no call used: {left.role}: {escape('; '.join(left.actions))}[/dim]")


def new_calls(seen: Iterable[Call], file: Path = FILE) -> list[Call]:
    """Calls that are not on record, of those that some role makes on AWS."""
    known = set(read(file))
    return [call for call in seen if call not in known and roles_of(call.caller)]


if __name__ == "__main__":
    sys.stdout.write(page_of(HOME, "prod"))
