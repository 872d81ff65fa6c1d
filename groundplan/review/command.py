"""``groundplan review``: the program previewed and judged, its permissions linted, its cost computed, and the result
compared with another revision.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from groundplan.engine.own_environment import interpreter
from groundplan.review import process
from groundplan.review.demands import Demands, check_selected, read_demands
from groundplan.review.errors import ReviewError
from groundplan.review.model import Estimate, Finding, Resource, Review, Undecided, Waived
from groundplan.review.project import Project, choose_stack, read_config, read_project
from groundplan.review.revisions import below_repository, compare
from spec.errors import UsageError
from spec.names import HOME
from spec.revisions import checked_out

if TYPE_CHECKING:
    from groundplan.review.permissions.stack import Made

_T = TypeVar("_T", Review, Finding, Resource)
MOST_NAMED = 5
TIME_LIMIT_S = 300.0
_ALWAYS_CHECKED = ("pulumi:", "pulumi-python:", "kubernetes:", "random:", "tls:", "command:", "time:", "aws:iam/")
_WITH_STAND_INS = " (decided with stand-ins for values known after deployment)"


def review(
    path: Path,
    stack: str = "",
    *,
    packs: tuple[Path, ...] = (),
    config: tuple[str, ...] = (),
    against: str = "",
    limit_s: float = TIME_LIMIT_S,
    regimes: tuple[str, ...] = (),
    fail_on: str = "",
    select: tuple[str, ...] = (),
) -> Review:
    """Review a project.

    Args:
        path: Folder with ``Pulumi.yaml``; this project or any other in Python.
        stack: May be omitted where there is one stack, or none.
        packs: Policy packs; by default the project's own.
        config: ``key=value``, overriding the stack file's.
        against: A git revision to compare with.
        limit_s: Seconds that the program and its policies may take.
        regimes, fail_on, select: See ``groundplan.review.demands``.

    Raises:
        UsageError: Invalid arguments, no such stack, missing configuration, invalid objectives.
        ReviewError: The program or a policy raised, or a pack can't be read.
    """
    started = time.monotonic()
    project = read_project(path)
    chosen = choose_stack(project, stack)
    asked = tuple(pack.resolve() for pack in packs) or _own_packs(project)
    demands = read_demands(project.root, regimes=regimes, fail_on=fail_on, select=select)
    settings = demands.config(read_config(project, chosen, config))
    running = _Engine(project, chosen, settings, asked)
    try:
        _load(settings)
        if not against:
            return _complete(project, chosen, settings, demands, running.answer(limit_s), started)
        with checked_out(project.root, against) as folder:
            before = _before(folder, project, chosen, config, demands, asked, against, limit_s)
            now = _complete(project, chosen, settings, demands, running.answer(limit_s), started)
            contracts = [demands.judged(found) for found in _contract_findings(project.root, against)]
            now = _with(now, findings=(*now.findings, *(found for found in contracts if _wanted(demands, found))))
            return _with(now, seconds=time.monotonic() - started, comparison=compare(against, before, now))
    finally:
        running.stop()


def _load(config: Mapping[str, str]) -> None:
    """What is needed once the engine has answered, imported while it runs; nothing from Pulumi, which would compete
    with the engine.
    """
    import rich.console
    import rich.table  # noqa: F401

    if "groundplan:objectives" in config:
        import kubernetes_validate  # noqa: F401

        import infra.design  # noqa: F401


def _own_packs(project: Project) -> tuple[Path, ...]:
    """This project's pack, and another project's own in addition: their pack does not replace ours."""
    own, ours = project.root / "policies", HOME / "policies"
    return (ours, own) if own != ours and (own / "PulumiPolicy.yaml").is_file() else (ours,)


class _Engine:
    """The process that runs the program; it starts immediately, so that this one can load what it needs meanwhile."""

    def __init__(self, project: Project, stack: str, config: Mapping[str, str], packs: tuple[Path, ...]) -> None:
        self._process = process.start(
            {
                "root": str(project.root),
                "main": str(project.main),
                "project": project.name,
                "stack": stack,
                "config": dict(config),
                "packs": [str(pack) for pack in packs],
                "python": interpreter(project.virtualenv),
                "region": _region(config) or "us-east-1",
                "permissions": _place(project, config),
            }
        )
        self._root = project.root

    def answer(self, limit_s: float) -> dict[str, Any]:
        """What it found.

        Raises:
            UsageError: Configuration is missing.
            ReviewError: The review could not be made.
        """
        try:
            out, said = self._process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise ReviewError(
                f"the program has not ended after {limit_s:g} s",
                where=self._where(),
                fix="find out what it waits for, or allow more with --time-limit",
            ) from None
        try:
            found: dict[str, Any] = json.loads(out)
        except ValueError:
            raise ReviewError(
                f"the engine ended without an answer: {said.strip()[-500:]}", where=str(self._root)
            ) from None
        if missing := found.get("missing"):
            more = (
                f"; without it the program ended at {found['ended']}, so there may be more"
                if found.get("ended")
                else ""
            )
            raise UsageError(
                f"the program requires configuration that is not set: {', '.join(missing)}{more}",
                where=str(self._root),
                fix=(
                    f"set all of it: {' '.join(f'--config {key}=...' for key in missing)}; or write it into the"
                    " stack's file"
                ),
            )
        if error := found.get("error"):
            raise ReviewError(error["what"], where=error["where"], fix=error["fix"])
        return found

    def _where(self) -> str:
        """Where the program is, as far as its own files go."""
        self._process.send_signal(process.WHERE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=1)  # it writes its frames, the innermost first
        self._process.kill()
        _, said = self._process.communicate()
        frames = re.findall(r'File "([^"]+)", line (\d+)', said)
        inside = [f"{file}:{line}" for file, line in frames if self._is_own(file)]
        return inside[0] if inside else str(self._root)

    def _is_own(self, file: str) -> bool:
        return file.startswith(f"{self._root}/") and "site-packages" not in file

    def stop(self) -> None:
        """End it, if it still runs."""
        process.stop(self._process)


def _place(project: Project, config: Mapping[str, str]) -> dict[str, str] | None:
    """The account and region of a stack, if its program is this platform, whose calls are on record."""
    accounts = _parsed(config, "aws:allowedAccountIds")
    if "groundplan:objectives" not in config or not isinstance(accounts, list) or len(accounts) != 1:
        return None
    return {"region": config.get("aws:region", "us-east-1"), "account": str(accounts[0])}


def _permissions(
    project: Project, stack: str, config: Mapping[str, str], answer: dict[str, Any], resources: tuple[Resource, ...]
) -> Any:
    """The record of calls, checked against the stack's policies; None where the program is not this platform's."""
    place = _place(project, config)
    if not answer["deployed"] or place is None:
        return None
    from groundplan.review.permissions.report import permissions

    by_urn = {resource.urn: resource for resource in resources}
    known = [
        dataclasses.replace(by_urn[item["urn"]], inputs=item["inputs"], dependencies=item["dependencies"])
        for item in answer["deployed"]
    ]
    return permissions(known, project.name, stack, place["account"], place["region"])


def _pod_faults(resources: Iterable[Made]) -> Iterator[Finding]:
    """Pods that the cluster would refuse, and connections that are needed but closed, or open but not needed."""
    from groundplan.engine.kubernetes.admission import refusals
    from groundplan.engine.kubernetes.connections import differences
    from groundplan.engine.kubernetes.images import unmatched_by
    from groundplan.engine.kubernetes.manifests import HELM_RELEASE, collect

    everything = list(resources)
    documents = [manifest.document for manifest in collect(everything)[0]]
    unmatched = unmatched_by(item.inputs for item in everything if item.type == HELM_RELEASE)
    for policy, title, faults, fix, url in (
        (
            "k8s-pod-admitted",
            "The cluster admits every pod",
            refusals(documents, unmatched),
            "Change the pod, or what its namespace and its node pool allow.",
            "https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/",
        ),
        (
            "k8s-connections",
            "Pods can reach what they need, and nothing else",
            differences(documents) if documents else [],
            "Change the network policy; or the table of what is needed, groundplan/engine/kubernetes/connections.py.",
            "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
        ),
    ):
        for fault in faults:
            yield Finding(
                policy, title, "high", True, "stack", "", "", fault, fix, ("GDPR 32(1)(b)", "SOC 2 CC6.6"), url
            )


def _complete(
    project: Project,
    stack: str,
    config: Mapping[str, str],
    demands: Demands,
    answer: dict[str, Any],
    started: float,
) -> Review:
    from groundplan.review import iam

    resources = tuple(Resource(**item) for item in answer["resources"])
    findings = [finding for pack in answer["packs"] for finding in _findings(pack, resources)]
    linted, unread = iam.lint(resources)
    later = {item["urn"]: item["inputs"] for item in answer["deployed"]}
    told = {item.urn: _with(item, inputs=later[item.urn]) for item in unread if item.urn in later}
    with_stand_ins, unread = iam.lint(tuple(told.get(item.urn, item) for item in unread))
    linted += [
        _with(finding, message=f"{finding.message}{_WITH_STAND_INS}")
        for finding in with_stand_ins
        if not finding.policy.startswith("iam-resource-")  # an ARN that is made up says nothing of the one to come
    ]
    ours = "groundplan:objectives" in config
    faulty, custom = _manifest_faults(resources, ours=ours)
    findings += [*linted, *faulty]
    held = _permissions(project, stack, config, answer, resources)
    if held is not None:
        from groundplan.review.permissions.report import findings as of_permissions

        findings += of_permissions(held, {resource.urn: resource.source for resource in resources})
        findings += _pod_faults(held.resources)
    today, evidence = datetime.datetime.now(datetime.UTC).date(), tuple[str, ...]()
    if isinstance(objectives := _parsed(config, "groundplan:objectives"), dict):
        from groundplan.review.penetration_tests import judge

        untested, evidence = judge(project.root, objectives, stack, today)
        findings += untested
    if waivers := _parsed(config, "groundplan:waivers"):
        from policies.settings import read_settings  # loads the SDK, which takes a while

        settings = read_settings(None, waivers, stack)
        findings = [_waived(finding, settings, today) for finding in findings]
    policies = [policy for pack in answer["packs"] for policy in pack["policies"]]
    check_selected(demands, [*policies, *({"id": f.policy, "family": f.family, "law": f.law} for f in findings)])
    findings = [demands.judged(finding) for finding in _counted(findings) if _wanted(demands, finding)]
    wanted = {
        policy["id"]
        for policy in policies
        if demands.wants(policy["id"], policy["severity"], policy["family"], policy["law"])
    }
    names = {resource.urn: resource.name for resource in resources}
    undecided = [
        Undecided(item["policy"], names.get(item["urn"], ""), item["why"])
        for pack in answer["packs"]
        for item in pack["undecided"]
        if item["policy"] in wanted
    ]
    undecided += [
        Undecided("iam-lint", name, "the document is known after deployment")
        for name in dict.fromkeys(item.name for item in unread)
        if not demands.select
    ]
    why, of_platform = answer["deployed_error"], _place(project, config) is not None
    if why and of_platform:
        undecided.append(
            Undecided("iam-call-refused", "", f"the program does not run with values such as AWS might return: {why}")
        )
    if held is not None:
        undecided += [
            Undecided("iam-call-refused", item.role, f"{item.need.action}: {item.decision.reason}")
            for item in held.undecided
        ]
    cost, not_met = _cost(project, stack, config, resources)
    notes = [
        f"{r.name} ({r.type}) is a component in another language: what it creates is not reviewed"
        for r in resources
        if r.remote
    ]
    if why and not of_platform:
        notes.append(f"with stand-ins for values known after deployment, the program raises {why}")
    if answer["not_run"]:
        notes.append(f"seen, and not run by a review: {', '.join(answer['not_run'])}")
    if answer["tolerated"]:
        what = ", ".join(answer["tolerated"][:MOST_NAMED]) + (", ..." if answer["tolerated"][MOST_NAMED:] else "")
        notes.append(f"computed from values known after deployment, and left unknown, since stand-ins raise: {what}")
    notes += _of_environment(project, answer)
    if not answer["enforced"]:
        notes.append("this system can't take the network from a process: only connections from Python were refused")
    if answer["tried"]:
        notes.append(f"requested from the network, and refused: {', '.join(answer['tried'])}")
    if custom:
        notes.append(f"custom resources, whose fields only the cluster can check: {', '.join(custom)}")
    if answer["lookups"]:
        notes.append(f"looked up, and answered with stand-ins: {', '.join(answer['lookups'])}")
    if unseen := _unseen(resources, answer["lookups"]):
        notes.append(f"not rendered, so what they create is not reviewed: {', '.join(unseen)}")
    from policies.settings import UNWAIVABLE

    controls = sum(
        policy["level"] != "disabled" and policy["id"] != UNWAIVABLE and policy["id"] in wanted for policy in policies
    )
    return Review(
        project.name,
        stack,
        resources,
        tuple(findings),
        tuple(undecided),
        iam.grants(tuple(told.get(item.urn, item) for item in resources)),
        cost,
        tuple(not_met),
        tuple(notes),
        controls,
        time.monotonic() - started,
        may=held.may if held is not None else (),
        uncovered=_uncovered(resources, policies),
        folder=below_repository(project.root),
        evidence=evidence,
    )


def _of_environment(project: Project, answer: dict[str, Any]) -> Iterator[str]:
    """What a reader must know of the environment that the program ran in."""
    theirs = answer["versions"].get("pulumi-aws")
    ours = importlib.metadata.version("pulumi-aws")
    if theirs and theirs.partition(".")[0] != ours.partition(".")[0]:
        yield f"the program uses pulumi-aws {theirs}; defaults are judged as those of {ours}"
    if answer["without_sdk"]:
        yield f"no Pulumi SDK in {project.virtualenv}: reviewed with groundplan's packages"
    elif project.virtualenv and not (project.virtualenv / "bin" / "python").exists():
        yield f"no environment at {project.virtualenv}, which Pulumi.yaml names: reviewed with groundplan's packages"


def _wanted(demands: Demands, finding: Finding) -> bool:
    return demands.wants(finding.policy, finding.severity, finding.family, finding.law)


def _uncovered(resources: tuple[Resource, ...], policies: list[dict[str, Any]]) -> tuple[tuple[str, int], ...]:
    """The provider's types that no control looks at; what Kubernetes has is all checked against its schemas."""
    from policies.type_names import canonical

    looked_at = {kind for policy in policies for kind in policy["types"]}
    counts = Counter(item.type for item in resources if item.custom and not item.type.startswith(_ALWAYS_CHECKED))
    return tuple(
        sorted((kind, count) for kind, count in counts.items() if looked_at and canonical(kind) not in looked_at)
    )


def _counted(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that say the same of one resource as one, with how often."""
    found: dict[Finding, int] = {}
    for finding in findings:
        found[finding] = found.get(finding, 0) + 1
    return [item if n == 1 else _with(item, message=f"{item.message} ({n} times)") for item, n in found.items()]


def _unseen(resources: tuple[Resource, ...], lookups: list[str]) -> list[str]:
    """What creates Kubernetes objects with a tool that a review does not run."""
    found = [
        f"Helm release {resource.name}" for resource in resources if resource.type == "kubernetes:helm.sh/v3:Release"
    ]
    tools = {
        "kubernetes:helm:template": "Helm charts (helm.v3.Chart)",
        "kubernetes:kustomize:directory": "Kustomize folders",
    }
    return found + [title for token, title in tools.items() if token in lookups]


def _parsed(config: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(config[key]) if key in config else None
    except ValueError:
        return None


def _findings(pack: dict[str, Any], resources: tuple[Resource, ...]) -> Iterator[Finding]:
    known = {item["id"]: item for item in pack["policies"]}
    by_urn = {resource.urn: resource for resource in resources}
    for item in pack["findings"]:
        policy, resource = known[item["policy"]], by_urn.get(item["urn"])
        message = item["message"].removesuffix(policy["remediation"]).strip()
        yield Finding(
            policy["id"],
            policy["title"],
            policy["severity"],
            item["level"] == "mandatory",
            resource.name if resource else "stack",
            resource.type if resource else "",
            item["urn"],
            message.rstrip(".") + (_WITH_STAND_INS if item.get("stand_ins") else ""),
            policy["remediation"],
            tuple(policy["law"]),
            policy["url"],
            resource.source if resource else "",
            risk=policy["risk"],
            family=policy["family"],
        )


def _manifest_faults(resources: tuple[Resource, ...], *, ours: bool) -> tuple[list[Finding], list[str]]:
    """What Kubernetes would refuse, and the kinds of custom resources, of which only the cluster can tell."""
    if not any(resource.type.startswith("kubernetes:") for resource in resources):
        return [], []
    from groundplan.engine.kubernetes.manifests import collect, faults, is_custom

    by_document = {id(resource.inputs): resource for resource in resources}
    findings, custom = [], dict[str, None]()
    for manifest in collect(resources)[0]:
        found = by_document[id(manifest.document)]
        api_version, kind = str(manifest.document["apiVersion"]), str(manifest.document["kind"])
        if not ours and is_custom(api_version, kind):
            custom[kind] = None
        findings += [
            Finding(
                "k8s-valid",
                "Kubernetes accepts the object",
                "high",
                True,
                found.name,
                found.type,
                found.urn,
                fault,
                "Correct the object.",
                ("SOC 2 CC8.1",),
                "https://kubernetes.io/docs/reference/kubernetes-api/",
                found.source,
            )
            for fault in faults(manifest.document, ours=ours)
        ]
    return findings, list(custom)


def _contract_findings(root: Path, revision: str) -> Iterator[Finding]:
    """Data contracts that no longer fit the other revision's readers or events."""
    from groundplan.contracts.check import all_files, check

    for item in check(root, revision) if all_files(root) else ():
        for fault in item.faults:
            yield Finding(
                "contract-valid",
                "A data contract conforms to its standard, and the platform can run it",
                "high",
                True,
                item.id,
                "data contract",
                f"contract::{item.id}",
                f"{fault.place}: {fault.says}",
                fault.fix or "Correct the contract.",
                ("GDPR 25", "SOC 2 PI1.2"),
                "https://bitol-io.github.io/open-data-contract-standard/",
                f"{item.path}:{max(1, fault.line)}",
            )
        for reason in item.reasons:
            yield Finding(
                "contract-compatible",
                "A data contract changes as its compatibility mode allows",
                "high",
                True,
                item.id,
                "data contract",
                f"contract::{item.id}",
                reason,
                "Keep the old field, or give the new form its own topic and contract.",
                ("GDPR 25", "SOC 2 PI1.2"),
                "https://docs.aws.amazon.com/glue/latest/dg/schema-registry.html#schema-registry-compatibility",
                f"{item.path}:1",
            )


def _waived(finding: Finding, settings: Any, today: datetime.date) -> Finding:
    for waiver in settings.waivers:
        if waiver.covers(finding.policy, finding.resource) and not waiver.expired(today):
            return _with(finding, waived=Waived(waiver.approver, waiver.reason, waiver.expires.isoformat()))
    return finding


def _with(item: _T, **changes: Any) -> _T:
    return dataclasses.replace(item, **changes)  # type: ignore[type-var]


def _cost(
    project: Project, stack: str, config: Mapping[str, str], resources: tuple[Resource, ...]
) -> tuple[Estimate, list[str]]:
    """The cost of the design, where the stack has objectives that can be met; else of the resources."""
    from groundplan.review.cost import of_design, of_resources
    from infra.design.price_book import load_prices

    if "groundplan:objectives" not in config:
        return of_resources(resources, load_prices(_region(config))), []
    from infra.design import design
    from spec.objectives import parse

    whole = {key: _loaded(value) for key, value in config.items()}
    parsed = parse(whole, where=f"stack {stack} of {project.root}")
    prices = load_prices(parsed.region)
    plan = design(parsed.objectives, prices, parsed.region, within_budget=False)
    cost = of_design(plan, parsed.objectives, prices)
    not_met = (
        [f"budget.monthly_usd: {cost.budget_usd:,.0f} USD, but the design costs {cost.monthly_usd:,.0f}"]
        if cost.over_budget
        else []
    )
    return cost, not_met


def _region(config: Mapping[str, str]) -> str:
    """The stack's region, where the provider would look for it."""
    return config.get("aws:region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def _loaded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


# Another revision.


def _before(
    folder: Path,
    project: Project,
    stack: str,
    config: tuple[str, ...],
    demands: Demands,
    packs: tuple[Path, ...],
    revision: str,
    limit_s: float,
) -> Review:
    """The other revision under today's policies: differences come from the program, not from the pack.

    Raises:
        ReviewError: It can't be reviewed.
    """
    try:
        there = read_project(folder)
        if there.virtualenv is None or not there.virtualenv.is_dir():  # git keeps none
            there = dataclasses.replace(there, virtualenv=project.virtualenv)
        settings = demands.config(read_config(there, stack, config))
        if (
            not (there.stacks / f"Pulumi.{stack}.yaml").is_file()
            and (project.stacks / f"Pulumi.{stack}.yaml").is_file()
        ):
            from groundplan.review.model import Estimate

            return Review(
                project.name, stack, (), (), (), (), Estimate("resources", (), "", "")
            )  # a new stack: everything is added
        engine = _Engine(there, stack, settings, packs)
        try:
            return _complete(there, stack, settings, demands, engine.answer(limit_s), time.monotonic())
        finally:
            engine.stop()
    except UsageError as error:
        raise ReviewError(
            f"revision {revision} can't be reviewed: {error.what}", where=error.where, fix=error.fix
        ) from None
