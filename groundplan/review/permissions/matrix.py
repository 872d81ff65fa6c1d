"""Who may do what: each role of a stack against the sensitive operations, and what each role is meant to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from groundplan.review.permissions.check import decide, of_keys
from groundplan.review.permissions.stack import Role, Stack
from policies.iam.actions import Need
from policies.iam.matching import action_fits

DEEDS = (
    "read raw",
    "read features",
    "train",
    "register",
    "approve",
    "promote",
    "read audit",
    "delete raw",
    "decrypt",
    "assume roles",
    "pass roles",
)
_WORK = frozenset(
    {"read raw", "read features", "train", "register", "approve", "promote", "read audit", "decrypt", "pass roles"}
)
# What each role is for. A role that is not named here, such as a service's own, is meant to do none of it except use
# a key.
WANTED: Mapping[str, frozenset[str]] = {
    "data-scientist": frozenset({"read features", "train", "approve", "read audit", "decrypt"}),
    "operations": frozenset({"approve", "promote", "read audit", "decrypt"}),
    "releaser": frozenset({"approve", "read audit", "decrypt"}),  # it adds to the log; the keys of approvals refuse it
    "auditor": frozenset({"read audit", "decrypt"}),
    "privacy": frozenset({"read raw", "read features", "register", "approve", "read audit", "decrypt"}),
    "pipeline": _WORK,
    "cluster-pipeline": _WORK - {"train"},  # its training is a pod, not a SageMaker job
    "trainer": _WORK - {"train", "promote", "pass roles"},  # a function, which waits for nobody and deploys nothing
    "serving": frozenset({"decrypt"}),
    "scheduler": frozenset({"train", "decrypt"}),
    "backup": frozenset({"read features", "read audit"}),
    "scientist": frozenset({"read features", "train", "decrypt"}),  # one for each person of the workspace
}
_KEYS = "decrypt"


@dataclass(frozen=True)
class Row:
    """One role.

    Attributes:
        may: Outcome by deed.
        keys: Classes of data whose key it may decrypt with.
        passes: Short names of the roles that it may pass to a service.
    """

    role: str
    may: Mapping[str, str]
    keys: tuple[str, ...]
    passes: tuple[str, ...]
    wanted: frozenset[str]

    @property
    def faults(self) -> list[str]:
        """Operations that it may do but should not, or the other way round."""
        found = []
        for deed, outcome in self.may.items():
            if outcome == "allowed" and deed not in self.wanted and (deed != _KEYS or self.role in WANTED):
                found.append(f"{self.role} may {deed}, but is not meant to")
            elif outcome != "allowed" and deed in self.wanted:
                found.append(
                    f"{self.role} is meant to {deed}, but"
                    f" {'may not' if outcome == 'denied' else 'it is undecided whether it may'}"
                )
        return found


def matrix(stack: Stack) -> list[Row]:
    """A row for each role, in order of their names."""
    return [_row(stack, stack.roles[name]) for name in sorted(stack.roles)]


def _speaks(role: Role, action: str) -> bool:
    """Whether a policy of the role may be about an action."""
    statements = [statement for policy in role.policies for statement in policy.statements]
    unreadable = any(not policy.readable for policy in role.policies)
    return unreadable or any(
        item.actions is None or any(action_fits(one, action) is not False for one in item.actions)
        for item in statements
    )


def _row(stack: Stack, role: Role) -> Row:
    account, region, prefix = stack.account, stack.region, stack.prefix

    def bucket(zone: str, key: str) -> str:
        return f"arn:aws:s3:::{prefix}-{zone}-{account}/{key}"

    def made(kind: str) -> str:
        return f"arn:aws:sagemaker:{region}:{account}:{kind}/{prefix}-any"

    def allowed(*needs: Need) -> str:
        outcomes = {decide(stack, role, inner).outcome for need in needs for inner in (need, *of_keys(stack, need))}
        return "denied" if "denied" in outcomes else "undecided" if "undecided" in outcomes else "allowed"

    def either(*outcomes: str) -> str:
        return "allowed" if "allowed" in outcomes else "undecided" if "undecided" in outcomes else "denied"

    passed = {"iam:PassedToService": "sagemaker.amazonaws.com"}
    # Most roles do not mention other roles; comparing each with each would be most of the work.
    others = stack.roles.values()
    named = [
        other
        for other in others
        if any(kind == "AWS" for statement in other.trust.statements for kind, _ in statement.principals or ())
    ]
    passes = (
        [other for other in others if allowed(Need("iam:PassRole", other.arn, passed)) == "allowed"]
        if _speaks(role, "iam:PassRole")
        else []
    )
    taken = others if _speaks(role, "sts:AssumeRole") else named
    takes = [other for other in taken if allowed(Need("sts:AssumeRole", other.arn)) == "allowed"]
    keys = tuple(
        kind
        for kind, arn in sorted(stack.keys.items())
        if allowed(Need("kms:Decrypt", arn, {"kms:CallerAccount": account})) == "allowed"
    )
    may = {
        "read raw": allowed(Need("s3:GetObject", bucket("raw", "any/any"))),
        "read features": allowed(Need("s3:GetObject", bucket("features", "training/any"))),
        "train": either(
            allowed(Need("sagemaker:StartPipelineExecution", made("pipeline"))),
            allowed(Need("sagemaker:CreateProcessingJob", made("processing-job"))),
        ),
        "register": allowed(
            Need("s3:PutObject", bucket("curated", "runs/any")), Need("s3:PutObject", bucket("audit", "tlog/any"))
        ),
        "approve": allowed(Need("s3:PutObject", bucket("audit", "tlog/any"))),
        "promote": allowed(
            Need("sagemaker:UpdateEndpoint", made("endpoint")),
            Need("sagemaker:UpdateEndpoint", made("endpoint-config")),
        ),
        "read audit": allowed(Need("s3:GetObject", bucket("audit", "tlog/any"))),
        "delete raw": allowed(Need("s3:DeleteObjectVersion", bucket("raw", "any/any"))),
        _KEYS: "allowed" if keys else "denied",
        "assume roles": "allowed" if takes else "denied",
        "pass roles": "allowed" if passes else "denied",
    }
    short = role.name.removeprefix(f"{prefix}-")
    return Row(
        short,
        may,
        keys,
        tuple(sorted(other.name.removeprefix(f"{prefix}-") for other in passes)),
        WANTED.get(short.partition("-")[0] if short.startswith("scientist-") else short, frozenset()),
    )
