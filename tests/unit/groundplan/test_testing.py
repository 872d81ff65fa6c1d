"""The pytest plugin, used with a separate program and pack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # reviews programs

PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def named(args, report):
    if args.resource_type == "aws:sqs/queue:Queue" and not str(args.props.get("name", "")).startswith("team-"):
        report("a queue's name begins with team-")


PolicyPack("own", policies=[
    ResourceValidationPolicy("queue-named", "Queues are the team's", named, EnforcementLevel.MANDATORY),
])
"""
TESTS = '''
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_a_wrong_name_is_found(pulumi_program):
    found = pulumi_program("""
        import pulumi_aws as aws
        aws.sqs.Queue("jobs", name="jobs")
        aws.sqs.Queue("more", name="team-more", visibility_timeout_seconds=30)
    """, packs=[HERE / "pack"], config={"aws:region": "eu-west-1"})
    assert found.violations == found.blocking == {("queue-named", "jobs")}
    assert found.one("Queue", "more").inputs["visibilityTimeoutSeconds"] == 30
    assert len(found.of_type("aws:sqs/queue:Queue")) == 2 and found.of_type("Topic") == []
    with pytest.raises(AssertionError, match="2 resources are of type Queue; the program creates .*jobs"):
        found.one("Queue")


def test_a_project_in_a_folder_with_files_and_structured_configuration(pulumi_program):
    found = pulumi_program(HERE / "project", packs=[HERE / "pack"], config={"given:names": ["team-a", "b"]})
    assert found.violations == {("queue-named", "b")}


def test_a_program_that_raises_is_named(pulumi_program):
    from groundplan.review.errors import ReviewError

    with pytest.raises(ReviewError, match="no queue today"):
        pulumi_program("raise ValueError('no queue today')", packs=[HERE / "pack"])
'''
PROJECT = """
import pulumi
import pulumi_aws as aws

for name in pulumi.Config("given").require_object("names"):
    aws.sqs.Queue(name, name=name)
"""


def test_a_program_and_a_pack_of_ones_own(tmp_path: Path) -> None:
    files = {
        "pack/PulumiPolicy.yaml": "runtime: python\n", "pack/__main__.py": PACK, "test_queues.py": TESTS,
        "project/Pulumi.yaml": "name: given\nruntime: python\n", "project/__main__.py": PROJECT,
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout[-3000:]
