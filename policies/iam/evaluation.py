"""Whether AWS would allow a request: its documented evaluation logic, as a pure function.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html, for one account and across
accounts, with permission boundaries, session policies, service control policies, resource control policies, VPC
endpoint policies and the grants of KMS.

The answer is *undecided* where a value is known only after deployment, or where AWS's documentation is contradictory.
It is never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.iam.conditions import holds
from policies.iam.documents import UNKNOWN, Policy, Statement
from policies.iam.matching import action_fits, all_of, any_of, opposite, principal_fits, resource_fits
from policies.iam.request import Request

Outcome = Literal["allowed", "denied", "undecided"]
_THEMSELVES = frozenset({"session", "user", "service", "everyone"})
# Actions that everyone may call, even where a policy denies them
# (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
_FREE = frozenset({"sts:getcalleridentity"})
_TAKING_A_ROLE = frozenset(
    {
        "sts:assumerole",
        "sts:assumerolewithsaml",
        "sts:assumerolewithwebidentity",
        "sts:tagsession",
        "sts:setsourceidentity",
    }
)


@dataclass(frozen=True)
class Grant:
    """A KMS grant: who may use a key for what, in addition to its policy.

    https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
    """

    key: str
    grantee: str
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Policies:
    """The policies that apply to a request. None means that there is none of that kind; an empty tuple means that it
    allows nothing.

    Args:
        identity: Policies of the role, or of the user and its groups.
        boundary: Permission boundary.
        resource: Policy of the resource (bucket, key, topic, queue, repository, secret; a role's trust policy).
        session: Session policies.
        service_control: Policies of an organization, one tuple for each level from the root to the account.
        resource_control: The same for the resource's organization.
        endpoint: Policy of the VPC endpoint that the request goes through.
    """

    identity: tuple[Policy, ...] = ()
    boundary: tuple[Policy, ...] | None = None
    resource: Policy | None = None
    session: tuple[Policy, ...] | None = None
    service_control: tuple[tuple[Policy, ...], ...] | None = None
    resource_control: tuple[tuple[Policy, ...], ...] | None = None
    endpoint: Policy | None = None
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True)
class Decision:
    """An outcome.

    Attributes:
        reason: Why, as part of a sentence.
        statements: The deciding statements: those that deny, or those that allow.
    """

    outcome: Outcome
    reason: str
    statements: tuple[Statement, ...] = ()


@dataclass
class _Said:
    """The result of the policies of one kind: whether any of them denies, whether any of them allows."""

    denies: bool | None
    allows: bool | None
    denying: tuple[Statement, ...]
    allowing: tuple[Statement, ...]


def evaluate(request: Request, policies: Policies) -> Decision:
    """Whether a request is allowed.

    Raises:
        ValueError: A policy has a condition operator that IAM does not have.
    """
    if request.action.lower() in _FREE:
        return Decision("allowed", "everyone may call it")
    if _only_by_aws(request):
        return Decision("denied", "only AWS may change its own resources")
    identity = _say(policies.identity, request)
    gates = _gates(policies, request)
    resource, named = _resource(policies, request)
    everything = [("its own policy", identity), *gates, ("the policy of the resource", resource)]
    for what, said in everything:
        if said.denies:
            return Decision("denied", f"{said.denying[0].name} denies it ({what})", said.denying)

    allowed, why, allowing = _allowed(request, policies, identity, resource, named, gates)
    undecided = next((what for what, said in everything if said.denies is None), "")
    if allowed is False:
        return Decision("denied", why)
    if allowed is None or undecided:
        return Decision(
            "undecided", why if allowed is None else f"{undecided} may deny it: a value in it is unknown", allowing
        )
    return Decision("allowed", why, allowing)


def _gates(policies: Policies, request: Request) -> list[tuple[str, _Said]]:
    """Policies that can only restrict, including the boundary and session policies, which can also deny."""
    found = []
    if policies.boundary is not None:
        found.append(("its permission boundary", _say(policies.boundary, request)))
    if policies.session is not None:
        found.append(("its session policy", _say(policies.session, request)))
    found += [("a service control policy", _say(level, request)) for level in policies.service_control or ()]
    for level in policies.resource_control or ():
        # They only deny: AWS's own policy, which allows everything, can't be removed.
        said = _say(level, request, with_principal=True)
        found.append(("a resource control policy", _Said(said.denies, True, said.denying, ())))
    if policies.endpoint is not None:
        found.append(("the policy of the VPC endpoint", _say((policies.endpoint,), request, with_principal=True)))
    return found


def _allowed(
    request: Request,
    policies: Policies,
    identity: _Said,
    resource: _Said,
    named: Mapping[str, bool | None],
    gates: Sequence[tuple[str, _Said]],
) -> tuple[bool | None, str, tuple[Statement, ...]]:
    same_account = not request.account or request.owner == request.account
    own = ("its permission boundary", "its session policy")
    outer = [(what, said.allows) for what, said in gates if what not in own]
    inner = [(what, said.allows) for what, said in gates if what in own]
    # A resource policy that names the session, the user or everyone is not limited by the boundary; one that names
    # the role is. A service has no other policies.
    themselves = any_of(answer for how, answer in named.items() if how in _THEMSELVES)
    by_role = named.get("role", False)
    by_account = named.get("account", False)
    granted = _granted(policies.grants, request)
    taking = request.action.lower() in _TAKING_A_ROLE
    # For an identity policy to count, the policy of a key, or of a role that is assumed, must name the account or the
    # caller.
    trusted = taking or re.match(r"arn:[^:]*:kms:[^:]*:[^:]*:key/", request.resource) is not None
    inner_allows = all_of(answer for _, answer in inner)
    of_its_own = all_of((identity.allows, inner_allows))
    if not request.account:
        core, needs = any_of((themselves, granted)), "no statement of the resource's policy allows it"
    elif trusted:
        with_identity = all_of((by_account, of_its_own))
        core = any_of((themselves, all_of((any_of((by_role, granted)), inner_allows)), with_identity))
        if not same_account:
            core = all_of((any_of((themselves, by_role, by_account, granted)), of_its_own))
        whose = "role's trust policy" if taking else "key's policy"
        needs = (
            f"the {whose} does not name it"
            if not any_of((themselves, by_role, by_account, granted))
            else _missing(identity, inner)
        )
    elif same_account:
        core = any_of((themselves, all_of((by_role, inner_allows)), of_its_own))
        needs = _missing(identity, inner)
    else:
        core = all_of((any_of((themselves, by_role, by_account)), of_its_own))
        needs = (
            _missing(identity, inner)
            if of_its_own is False
            else f"the policy of the resource, which is account {request.owner}'s, does not name it"
        )
    for what, answer in outer:
        if answer is False:
            return False, f"{what} does not allow it", ()
    if core is False:
        return False, needs, ()
    if core is None or any(answer is None for _, answer in outer):
        return (
            None,
            "a value that the statements require is unknown, or AWS's documentation is contradictory about it",
            identity.allowing + resource.allowing,
        )
    return True, "it is allowed", identity.allowing + resource.allowing


def _missing(identity: _Said, inner: Iterable[tuple[str, bool | None]]) -> str:
    if identity.allows is False:
        return "no statement of its policies allows it"
    return next(
        (f"{what} does not allow it" for what, answer in inner if answer is False),
        "no statement of its policies allows it",
    )


def _only_by_aws(request: Request) -> bool:
    """AWS's own policies, aliases and roles may only be read."""
    name = request.action.partition(":")[2].lower()
    own = re.fullmatch(
        r"arn:[^:]*:(iam::aws:policy/.*|iam::\d*:role/(aws-service-role|aws-reserved)/.*|kms:[^:]*:[^:]*:alias/aws/.*)",
        request.resource,
    )
    return (
        request.action.lower().startswith(("iam:", "kms:"))
        and own is not None
        and not name.startswith(("get", "list", "generate", "simulate"))
    )


def _granted(grants: Iterable[Grant], request: Request) -> bool | None:
    meant = [
        grant
        for grant in grants
        if grant.key == request.resource and any(action_fits(action, request.action) for action in grant.actions)
    ]
    return any_of(
        None if UNKNOWN in grant.grantee else grant.grantee in (request.principal, request.role) for grant in meant
    )


def _say(policies: Iterable[Policy], request: Request, *, with_principal: bool = False) -> _Said:
    answers: dict[str, list[tuple[Statement, bool | None]]] = {"Allow": [], "Deny": []}
    unreadable = False
    for policy in policies:
        unreadable = unreadable or not policy.readable
        for statement in policy.statements:
            answer = _meant(statement, request)
            if with_principal and answer is not False:
                answer = all_of((answer, _names(statement, request)))
            if answer is not False:
                answers[statement.effect].append((statement, answer))

    def told(effect: str) -> bool | None:
        found = any_of(answer for _, answer in answers[effect])
        return None if unreadable and not found else found

    def which(effect: str) -> tuple[Statement, ...]:
        return tuple(statement for statement, _ in answers[effect])

    denying = tuple(statement for statement, answer in answers["Deny"] if answer)
    return _Said(told("Deny"), told("Allow"), denying, which("Allow"))


def _resource(policies: Policies, request: Request) -> tuple[_Said, dict[str, bool | None]]:
    """The result of the resource's policy, and how it names the caller where it allows."""
    named: dict[str, bool | None] = {}
    denies: list[tuple[Statement, bool | None]] = []
    allowing = []
    for statement in policies.resource.statements if policies.resource else ():
        meant = _meant(statement, request, trust=request.action.lower() in _TAKING_A_ROLE)
        if meant is False:
            continue
        if statement.effect == "Deny":
            names = _names(statement, request)
            if statement.not_principals is not None and policies.boundary is not None and request.role:
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html: denied
                # whatever it names
                names = True
            denies.append((statement, all_of((meant, names))))
            continue
        for how, answer in _ways(statement, request).items():
            named[how] = any_of((named.get(how, False), all_of((meant, answer))))
        allowing.append(statement)
    unreadable = policies.resource is not None and not policies.resource.readable
    if unreadable:
        named = {"account": None, "session": None}
    said = _Said(
        None if unreadable else any_of(answer for _, answer in denies),
        any_of(named.values()),
        tuple(statement for statement, answer in denies if answer),
        tuple(allowing) if any(named.values()) else (),
    )
    return said, named


def _meant(statement: Statement, request: Request, *, trust: bool = False) -> bool | None:
    """Whether a statement applies to the request, whoever the caller is."""
    action = (
        any_of(action_fits(pattern, request.action) for pattern in statement.actions)
        if statement.actions is not None
        else opposite(any_of(action_fits(pattern, request.action) for pattern in statement.not_actions or ()))
    )
    if action is False:
        return False
    if statement.resources is not None:
        resource = any_of(
            resource_fits(pattern, request, variables=statement.variables) for pattern in statement.resources
        )
    elif statement.not_resources is not None:
        resource = opposite(
            any_of(
                resource_fits(pattern, request, variables=statement.variables) for pattern in statement.not_resources
            )
        )
    else:
        resource = True  # a trust policy belongs to its role
    if resource is False:
        return False
    return all_of(
        (action, resource, *(holds(test, request, variables=statement.variables) for test in statement.tests))
    )


def _names(statement: Statement, request: Request) -> bool | None:
    """Whether a statement's principals match the caller. One without the element matches nobody."""
    if statement.not_principals is not None:
        named = any_of(_named(principal_fits(kind, value, request)) for kind, value in statement.not_principals)
        return opposite(named)
    return any_of(_named(principal_fits(kind, value, request)) for kind, value in statement.principals or ())


def _named(how: str | None) -> bool | None:
    return None if how == "unknown" else how is not None


def _ways(statement: Statement, request: Request) -> dict[str, bool | None]:
    if statement.not_principals is not None:
        return {"everyone": _names(statement, request)}
    found: dict[str, bool | None] = {}
    for kind, value in statement.principals or ():
        how = principal_fits(kind, value, request)
        if how == "unknown":
            found.setdefault("session", None)
            found.setdefault("role", None)
        elif how is not None:
            found[how] = True
    return found
