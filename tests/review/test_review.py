"""The complete review: programs run in its engine, judged by the pack in its own process."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from groundplan.review.command import review
from groundplan.review.errors import ReviewError
from groundplan.review.formats import as_html, as_json, as_markdown, as_sarif
from groundplan.review.model import Review
from groundplan.testing import Reviewed
from policies.controls import CONTROLS
from spec.errors import UsageError
from spec.objectives import load_config
from tests.conftest import ROOT
from tests.review.programs import GOOD, PROGRAMS

LATER = (datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(300)).isoformat()
SCHEMA = Path(__file__).parent / "sarif-2.1.0.schema.json"


Program = Callable[..., Reviewed]


def write(folder: Path, code: str, pulumi: str = "name: tried\nruntime: python\n", **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Pulumi.yaml").write_text(pulumi)
    (folder / "__main__.py").write_text(code)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def told(found: Review) -> set[str]:
    return {f"{'!' if finding.blocks else ''}{finding.policy} {finding.resource}" for finding in found.findings}


def test_there_are_thirty_bad_programs_and_a_good_one() -> None:
    assert len(PROGRAMS) >= 31 and not PROGRAMS["nothing wrong"].expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_bad_program_yields_exactly_its_findings(name: str, pulumi_program: Program) -> None:
    program = PROGRAMS[name]
    code = f"{GOOD}\n{program.code}\n"
    found = pulumi_program(code).review
    assert told(found) == program.expected
    assert found.passed == (not any(item.startswith("!") for item in program.expected))
    lines = code.splitlines()
    for finding in found.findings:
        file, _, line = finding.source.partition(":")
        assert (file == "__main__.py" and "aws." in lines[int(line) - 1]) or "k8s." in lines[int(line) - 1], (
            f"{finding.policy}: {finding.source}"
        )


@pytest.fixture(scope="module")
def prod() -> Review:
    return review(ROOT, "prod")


def test_the_prod_stack_is_clean(prod: Review) -> None:
    assert prod.passed and not prod.undecided
    assert {finding.policy for finding in prod.findings if not finding.waived} == {"penetration-test-due"}
    assert {finding.policy for finding in prod.findings if finding.waived} == {"secret-rotates", "k8s-pod-security"}
    assert prod.cost.basis == "design" and prod.cost.budget_usd == 10_000 and 1_000 < prod.cost.monthly_usd < 10_000
    auditor = [grant for grant in prod.grants if grant.who == "role groundplan-prod-auditor"]
    assert auditor and all(grant.access in ("List", "Read") or "kms:Decrypt" in grant.actions for grant in auditor)


@pytest.mark.parametrize("stack", ["local", "dev", "staging"])
def test_every_other_stack_is_clean(stack: str) -> None:
    found = review(ROOT, stack)
    assert found.passed and not [finding for finding in found.findings if finding.blocks]


GRANTS = """
import json
import pulumi_aws as aws


def document(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", **statement}]})


trust = document(Action="sts:AssumeRole", Principal={"Service": "ec2.amazonaws.com"})
inline = [{"name": "x", "policy": document(Action="s3:GetObject", Resource="arn:aws:s3:::b/*")}]
app = aws.iam.Role("r", name="app", assume_role_policy=trust, inline_policies=inline, managed_policy_arns=["arn:aws:iam::aws:policy/job-function/Billing"])
other = aws.iam.Role("other", assume_role_policy=trust)
policy = aws.iam.Policy("p", policy=document(Action="dynamodb:DeleteTable"))
aws.iam.Policy("idle", policy=document(Action="sqs:DeleteQueue"))
for role in (app, other):
    aws.iam.RolePolicyAttachment(f"a-{role._name}", role=role.name, policy_arn=policy.arn)
aws.iam.RolePolicyAttachment("power", role=app.name, policy_arn="arn:aws:iam::aws:policy/PowerUserAccess")
aws.iam.RolePolicy("not", role=app.name, policy=document(NotAction="organizations:*"))
aws.iam.RolePolicy("not2", role=app.name, policy=json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "s3:DeleteObject", "NotResource": "arn:aws:s3:::keep/*"}]}))
"""


def test_every_way_to_give_a_right_is_listed(pulumi_program: Program) -> None:
    found = {
        (grant.who, grant.access, grant.actions, grant.resources) for grant in pulumi_program(GRANTS).review.grants
    }
    assert found == {
        ("role app", "Read", ("s3:GetObject",), ("arn:aws:s3:::b/*",)),
        ("role app", "Managed policy", ("arn:aws:iam::aws:policy/job-function/Billing",), ("what that policy names",)),
        ("role app", "Managed policy", ("arn:aws:iam::aws:policy/PowerUserAccess",), ("what that policy names",)),
        ("role app", "Write", ("dynamodb:DeleteTable",), ("*",)),
        ("role other", "Write", ("dynamodb:DeleteTable",), ("*",)),
        ("holders of the policy idle", "Write", ("sqs:DeleteQueue",), ("*",)),
        ("role app", "Everything else", ("all but organizations:*",), ("*",)),
        ("role app", "Write", ("s3:DeleteObject",), ("all but arn:aws:s3:::keep/*",)),
    }


def test_a_stack_over_its_budget_is_reviewed_and_fails() -> None:
    config = load_config(ROOT, "prod")
    config["groundplan:objectives"]["budget"]["monthly_usd"] = 3000
    found = review(ROOT, "prod", config=(f"groundplan:objectives={json.dumps(config['groundplan:objectives'])}",))
    assert found.cost.over_budget and not found.passed and not found.blocking and len(found.resources) > 300
    assert found.objectives_not_met[0].startswith("budget.monthly_usd: 3,000 USD, but the design costs 4,")
    assert "over budget" in as_markdown(found).splitlines()[0]


def test_objects_of_one_name_below_two_components_are_two(pulumi_program: Program) -> None:
    code = """
import pulumi
import pulumi_kubernetes as k8s


class Part(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__(f"my:part:{name}", name)
        k8s.core.v1.ConfigMap("settings", data={"a": 1}, opts=pulumi.ResourceOptions(parent=self))


Part("a")
Part("b")
"""
    found = pulumi_program(code).review
    faults = [finding.urn for finding in found.findings if finding.policy == "k8s-valid"]
    assert len(faults) == len(set(faults)) == 2, "of each one"


def test_modules_in_the_folder_where_it_is_called_are_not_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path, f"import infra\n{GOOD}\nbucket('b', versions=infra.VERSIONS)\n")
    (folder / "infra.py").write_text("VERSIONS = False\n")
    for name in ("queue", "logging", "grpc", "yaml", "policies"):
        (folder / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    (folder / "logging.py").unlink()  # a program that shadows what its own SDK imports fails under Pulumi, too
    done = subprocess.run(
        [str(Path(sys.executable).with_name("groundplan")), "review", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "s3-versioned" in done.stdout, done.stderr


def test_an_output_that_cant_be_written_is_wrong_use(tmp_path: Path) -> None:
    folder = write(tmp_path / "program", f"{GOOD}\nbucket('b')\n")
    out = folder / "Pulumi.yaml" / "x.json"
    done = subprocess.run(
        [sys.executable, "-m", "groundplan", "review", str(folder), "--format", "json", "--out", str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and f"error: {out}: can't be written" in done.stderr


def test_sarif_holds_to_its_schema_and_points_at_python(prod: Review, pulumi_program: Program) -> None:
    import jsonschema

    bad = pulumi_program(f"{GOOD}\n{PROGRAMS['public database'].code}\n").review
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for item in (prod, bad):
        jsonschema.validate(json.loads(as_sarif(item)), schema)
    result = json.loads(as_sarif(bad))["runs"][0]["results"][0]
    place = result["locations"][0]["physicalLocation"]
    assert (result["ruleId"], result["level"], place["artifactLocation"]["uri"]) == (
        "rds-private",
        "error",
        "__main__.py",
    )
    assert place["region"]["startLine"] > 1
    suppressed = [item for item in json.loads(as_sarif(prod))["runs"][0]["results"] if "suppressions" in item]
    assert len(suppressed) == 2 and all(item["suppressions"][0]["justification"] for item in suppressed)


def test_the_other_formats_say_the_same(prod: Review, pulumi_program: Program) -> None:
    document = json.loads(as_json(prod))
    assert document["passed"] and document["cost"]["monthly_usd"] and len(document["grants"]) == len(prod.grants)
    page = as_html(prod)
    assert "<script" not in page and "http" not in page.split("</style>")[0] and "groundplan-prod-auditor" in page
    bad = pulumi_program(f"{GOOD}\n{PROGRAMS['administrator'].code}\n").review
    text = as_markdown(bad)
    assert (
        text.startswith("## ❌ tried / dev: failed: 2 mandatory findings")
        and "| r<br>`__main__.py:" in text
        and "| `iam-no-star-action` critical |" in text
    )
    assert CONTROLS["iam-no-star-action"].risk in text and CONTROLS["iam-no-star-action"].risk in as_html(bad)


def test_another_revision_is_held_against_this_one(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    before = 'bucket("b")\nrole("r", allow("s3:GetObject", "arn:aws:s3:::b/*"))\nbucket("old")\n'
    after = (
        'bucket("b", tls=False)\nrole("r", allow(["s3:GetObject", "s3:PutObject"],'
        ' "arn:aws:s3:::b/*"))\ndatabase("d")\n'
    )
    # Modules with the same names as this project's, but different in the two revisions.
    write(tmp_path / "deep", f"from infra.helper import *\n{before}", helper="")
    (tmp_path / "deep" / "infra").mkdir()
    (tmp_path / "deep" / "infra" / "helper.py").write_text(GOOD)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "before")
    write(tmp_path / "deep", f"from infra.helper import *\n{after}")
    found = review(tmp_path / "deep", against="HEAD")
    compared = found.comparison
    assert compared is not None
    changes = {(change.what, change.type.rpartition(":")[2], change.name) for change in compared.resources}
    assert (
        ("added", "Instance", "d") in changes
        and ("gone", "Bucket", "old") in changes
        and ("changed", "RolePolicy", "r") in changes
    )
    assert ("gone", "BucketPolicy", "b") in changes and not [
        change for change in changes if change[1:] == ("Bucket", "b")
    ]
    assert [(grant.who, grant.access, grant.actions) for grant in compared.grants_added] == [
        ("role r", "Write", ("s3:PutObject",))
    ]
    assert [(finding.policy, finding.resource) for finding in compared.findings_added] == [("s3-tls-only", "b")]
    assert found.cost.monthly_usd > compared.monthly_usd_before == 0
    text = as_markdown(found)
    assert "against `HEAD`: resources: " in text and text.splitlines()[0].count("USD a month")
    decide = text[: text.index("<details>")]
    assert "- **Data is lost**: old (aws:s3/bucket:Bucket) is deleted" in decide
    assert "- **1 new right to write or decrypt** for role r: `s3:PutObject`" in decide
    sarif = json.loads(as_sarif(found))["runs"][0]["results"]
    uris = {item["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for item in sarif}
    assert found.folder == "deep" and uris and all(uri.startswith("deep/") for uri in uris)
    assert not list(Path(tmp_path).glob("groundplan-*"))
    with pytest.raises(UsageError, match="--against nowhere"):
        review(tmp_path / "deep", against="nowhere")


def test_look_ups_are_answered_and_named(tmp_path: Path) -> None:
    code = """
import pulumi_aws as aws
vpc = aws.ec2.get_vpc(default=True)
subnets = aws.ec2.get_subnets(filters=[{"name": "vpc-id", "values": [vpc.id]}])
image = aws.ec2.get_ami(most_recent=True, owners=["amazon"])
zones = aws.get_availability_zones()
for index, zone in enumerate(zones.names[:2]):
    aws.ec2.Subnet(f"s{index}", vpc_id=vpc.id, availability_zone=zone, cidr_block=f"10.0.{index}.0/24")
document = aws.iam.get_policy_document(statements=[{"actions": ["s3:GetObjekt"], "resources": ["*"]}])
aws.iam.Policy("p", policy=document.json, description=aws.get_caller_identity().account_id)
later = aws.ec2.get_ami_output(most_recent=True, owners=["amazon"])
aws.ec2.Instance("i", ami=later.id.apply(str.upper), subnet_id=subnets.ids[0], instance_type="t3.micro")
"""
    found = review(write(tmp_path, code), config=("aws:region=eu-west-3",))
    zones = [r.inputs["availabilityZone"] for r in found.resources if r.type.endswith(":Subnet")]
    assert zones == ["eu-west-3a", "eu-west-3b"]
    assert "iam-unknown-action" in {finding.policy for finding in found.findings}
    assert "looked up, and answered with stand-ins: aws:ec2/getAmi:getAmi" in found.notes[0]


def test_what_a_deployment_decides_is_unknown_and_never_a_silent_pass(pulumi_program: Program) -> None:
    code = f"""{GOOD}
made = bucket("b", tls=False)
aws.s3.BucketPolicy("p", bucket="b", policy=made.id.apply(lambda name: 1 / 0))
"""
    found = pulumi_program(code).review
    assert {(item.policy, item.resource) for item in found.undecided} == {
        ("policy-not-public", "p"),
        ("s3-tls-only", "b"),
        ("iam-lint", "p"),
    }
    assert any("left unknown, since stand-ins raise: ZeroDivisionError at __main__.py:" in note for note in found.notes)


def test_missing_configuration_is_asked_for_all_at_once(tmp_path: Path) -> None:
    code = """
import pulumi
c = pulumi.Config()
n = c.require_int("count") + 1
k = c.require("key")
pulumi.Config("aws").require("region")
x = {"a": 1}[k]
"""
    folder = write(tmp_path, code, "name: tried\nruntime: {name: python}\nconfig:\n  given: {default: 5}\n")
    with pytest.raises(UsageError, match="configuration that is not set: tried:count, tried:key, aws:region"):
        review(folder)
    assert review(folder, config=("count=2", "key=a", "aws:region=eu-west-1")).passed


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import pulumi\n\n\ndef make():\n    return 1 / 0\n\n\nmake()\n",
            r"__main__\.py:5: the program raised ZeroDivisionError: division by zero",
        ),
        (
            "import nothing_of_that_name\n",
            r"__main__\.py:1: the program raised ModuleNotFoundError.*\n  -> install what the program needs",
        ),
        ("import pulumi\n\npulumi.log.error('no zone is left')\n", r"the program logged errors: no zone is left"),
        ("raise SystemExit(3)\n", r"__main__\.py:1: the program raised SystemExit: 3"),
        ("def broken(:\n", "the program raised SyntaxError"),
        ("import pulumi_aws as aws\naws.s3.Bucket('a')\naws.s3.Bucket('a')\n", "two resources are both named 'a'"),
    ],
)
def test_a_program_that_raises_is_named_with_its_line(code: str, says: str, pulumi_program: Program) -> None:
    with pytest.raises(ReviewError, match=says):
        pulumi_program(code)


PACK = """from pulumi_policy import *


def check(args, report):
    {body}


PolicyPack('tried', policies=[ResourceValidationPolicy('mine', 'Mine', check)])
"""


@pytest.mark.parametrize(
    ("body", "manifest", "says"),
    [
        ("return args.props['nothing'][0]", "runtime: python", r"__main__\.py:5: the policy mine raised: KeyError"),
        ("pass\n1 / 0", "runtime: python", r"__main__\.py:6: the policy pack does not start: ZeroDivisionError"),
        ("pass", "runtime: nodejs", "is a pack in nodejs"),
        ("pass", "runtime: [", "not readable as YAML"),
        ("pass", "- runtime: python", "does not contain a mapping"),
        ("pass", "runtime: {name: python, options: {virtualenv: broken}}", "its Python can't be run"),
    ],
)
def test_a_pack_that_fails_is_named_and_nothing_passes(body: str, manifest: str, says: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "program", f"{GOOD}\nbucket('b')\n")
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text(f"{manifest}\n")
    (pack / "__main__.py").write_text(PACK.format(body=body))
    (pack / "broken" / "bin").mkdir(parents=True)
    (pack / "broken" / "bin" / "python").touch()
    with pytest.raises(ReviewError, match=says):
        review(folder, packs=(pack,))


def test_a_review_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    folder = write(tmp_path / "program", "import time\ntime.sleep(60)\n")
    started = subprocess.Popen([sys.executable, "-m", "groundplan", "review", str(folder)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(below := psutil.Process(started.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline, "it starts the program's process and the pack's"
        time.sleep(0.05)
    for process in (started, below[0]):  # the pack's ends with the program's
        process.kill()
    started.wait()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive


def test_another_pack_is_asked_as_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path / "program", f"{GOOD}\nbucket('b')\n")
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "__main__.py").write_text(
        PACK.format(body="report('bad') if args.resource_type.endswith(':Bucket') else None")
    )
    found = review(folder, packs=(pack,))
    assert told(found) == {"mine b"} and found.controls == 1


@pytest.mark.parametrize(
    ("pulumi", "says"),
    [
        ("name: x\nruntime: nodejs\n", "is a program in nodejs; only Python ones"),
        ("runtime: python\n", "does not name a project"),
        ("name: [\n", "not readable as YAML"),
    ],
)
def test_a_project_that_is_none_is_named(pulumi: str, says: str, pulumi_program: Program) -> None:
    with pytest.raises(UsageError, match=says):
        pulumi_program("", files={"Pulumi.yaml": pulumi})


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a Pulumi project: it has no Pulumi\.yaml"):
        review(tmp_path)
    with pytest.raises(UsageError, match=r"has 4 stacks\n  -> name one with --stack: dev, local, prod, staging"):
        review(ROOT)
    with pytest.raises(UsageError, match=r"unknown stack 'production'\n  -> use one of: dev, local, prod, staging"):
        review(ROOT, "production")
    with pytest.raises(UsageError, match="expected KEY=VALUE, got 'region'"):
        review(write(tmp_path, ""), config=("region",))


def test_regimes_of_the_stack_make_findings_mandatory_and_an_expired_waiver_is_one(tmp_path: Path) -> None:
    entry = "policy: s3-versioned, resource: b, reason: r, approver: a@b.c"
    other = "policy: s3-lifecycle, resource: 'b*', reason: r, approver: a@b.c"
    stack = (
        f"config:\n  groundplan:waivers:\n    - {{{entry}, expires: '2020-01-01'}}\n    - {{{other}, expires:"
        f" '{LATER}'}}\n"
    )
    folder = write(tmp_path, f"{GOOD}\nbucket('b', versions=False, lifecycle=False)\n", **{"Pulumi__dev__yaml": stack})
    found = review(folder)
    waived = {finding.policy: finding.waived for finding in found.findings}
    assert waived["s3-lifecycle"] and waived["s3-versioned"] is None
    assert told(found) == {"s3-versioned b", "s3-lifecycle b", "!waiver-holds stack"}
    assert "expired on 2020-01-01" in next(
        finding.message for finding in found.findings if finding.policy == "waiver-holds"
    )


def test_what_is_only_read_is_unknown_and_named_policies_inside_of_roles_are_read(pulumi_program: Program) -> None:
    code = """
import json
import pulumi
import pulumi_aws as aws
there = aws.s3.Bucket.get("there", "a-bucket")
aws.s3.BucketVersioning("v", bucket=there.id, versioning_configuration={"status": "Enabled"})
other = pulumi.StackReference("org/project/stack")
aws.ec2.SecurityGroup("g", vpc_id=other.get_output("vpc"), ingress=[
    {"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": [there.arn, "0.0.0.0/0"]}])
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
nobody = {"Version": "2012-10-17", "Statement": []}
aws.iam.Role("r", assume_role_policy=json.dumps(nobody), inline_policies=[{"name": "i", "policy": json.dumps(everything)}])
"""
    found = told(pulumi_program(code).review)
    assert {"!no-open-ingress g", "!iam-no-star-action r", "!iam-no-wildcards r"} <= found, found


def test_programs_written_as_people_write_them_come_through(pulumi_program: Program) -> None:
    code = """
import pulumi, pulumi_aws as aws, pulumi_kubernetes as k8s

vpc = aws.ec2.Vpc("v", cidr_block="10.0.0.0/16")
aws.ec2.Subnet("s", vpc_id=vpc, cidr_block="10.0.1.0/24")  # a resource, where its id is wanted
found = aws.ec2.get_ami(most_recent="true", owners=["amazon"])  # a text, where AWS wants a boolean
cluster = aws.eks.get_cluster(name="c")
pulumi.export("ca", cluster.certificate_authorities[0].data)
aws.ec2.Subnet("t", vpc_id=vpc.id, cidr_block=aws.ec2.get_vpc(default=True).cidr_block)
k8s.core.v1.Service("x", metadata={"name": "x", "labels": vpc.tags}, spec={"ports": [{"port": 80}]})
k8s.yaml.ConfigFile("y", file="objects.yaml")
k8s.helm.v3.Release("h", chart="redis")
"""
    objects = (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: open}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:"
        " {name: m}\n"
    )
    found = pulumi_program(code, files={"objects.yaml": objects}).review
    assert {"aws:ec2/subnet:Subnet", "kubernetes:core/v1:Namespace", "kubernetes:core/v1:ConfigMap"} <= {
        resource.type for resource in found.resources
    }
    assert "k8s-pod-security open" in told(found) and not any("k8s-valid" in item for item in told(found))
    assert any("not rendered, so what they create is not reviewed: Helm release h" in note for note in found.notes)


def test_a_key_that_the_program_ends_without_is_said_not_to_be_all(pulumi_program: Program) -> None:
    code = 'import pulumi\nopen(pulumi.Config().require("file"))\npulumi.Config().require("later")\n'
    with pytest.raises(
        UsageError,
        match=r"that is not set: tried:file; without it the program ended at .*__main__.py:2, so there may be more",
    ):
        pulumi_program(code)


def test_a_contract_that_breaks_its_readers_is_found_against_another_revision(tmp_path: Path) -> None:
    folder = write(tmp_path, "import pulumi\n")
    contracts = folder / "models" / "x" / "contracts"
    contracts.mkdir(parents=True)
    text = (ROOT / "models" / "flights-late" / "contracts" / "planes.yaml").read_text(encoding="utf-8")
    (contracts / "planes.yaml").write_text(text, encoding="utf-8")
    for arguments in (
        ["init"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-m", "first"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    assert review(folder, against="HEAD").passed
    (contracts / "planes.yaml").write_text(
        text.replace("version: 1.0.0", "version: 2.0.0")
        .replace("logicalType: integer, required: true", "logicalType: string, required: true")
        .replace("logicalTypeOptions: {minimum: 1, maximum: 8}", "")
        .replace("logicalTypeOptions: {minimum: 1, maximum: 900}", ""),
        encoding="utf-8",
    )
    found = review(folder, against="HEAD")
    assert told(found) == {"!contract-compatible planes"} and not found.passed
    assert any("seats is integer in 1.0.0 and string in 2.0.0" in finding.message for finding in found.findings)
    assert found.comparison is not None and len(found.comparison.findings_added) == 2
