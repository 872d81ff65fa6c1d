"""`groundplan init`: a repository in an empty folder, or one clear message and no files."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from groundplan.cli.app import app
from groundplan.scaffold import repository
from groundplan.scaffold.repository import MAY_BE_THERE, STACKS, requirement_of, write_policy_pack, write_repository
from infra.build.image import image_files
from infra.design import design
from infra.design.price_book import load_prices
from spec.errors import UsageError
from spec.names import PACKAGES
from spec.objectives import load
from tests.conftest import ROOT

REQUIREMENT = "groundplan==0.1.0"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("here") / "acme", requirement=REQUIREMENT).root


def test_nothing_of_the_code_is_copied_and_the_release_is_pinned(acme: Path) -> None:
    assert not [name for name in PACKAGES if (acme / name).exists()]
    assert [path.name for path in acme.rglob("*.py")] == ["__main__.py", "test_stacks.py"]
    assert (acme / "requirements.txt").read_text() == f"{REQUIREMENT}\n"
    for lock in ("requirements.lock", "requirements-tools.lock"):
        assert (acme / lock).read_text() == (ROOT / lock).read_text()
    assert (acme / "models").is_dir() and not (acme / "requirements.lock").is_symlink()


@pytest.mark.parametrize("stack", STACKS)
def test_each_stack_can_be_met_within_its_budget_and_has_room_for_models(acme: Path, stack: str) -> None:
    config = load(acme, stack)
    plan = design(config.objectives, load_prices(), config.region)
    assert config.objectives.environment == stack and not config.objectives.models
    assert plan.monthly_usd < 0.5 * config.objectives.budget.monthly_usd
    document = yaml.safe_load((acme / f"stacks/Pulumi.{stack}.yaml").read_text())
    assert {waiver["expires"] for waiver in document["config"]["groundplan:waivers"]} == {
        (date.today() + timedelta(days=365)).isoformat()  # noqa: DTZ011 (its user's day)
    }


def test_the_image_is_of_its_models_and_its_lock(acme: Path) -> None:
    files = image_files(acme)
    assert files["requirements.lock"] == str(acme / "requirements.lock") and files["pipelines/image.toml"] == str(
        ROOT / "pipelines/image.toml"
    )
    assert not [name for name in files if name.startswith("models/") and not files[name].startswith(str(acme))]


def test_its_pipelines_are_those_of_this_project_with_its_own_name(acme: Path) -> None:
    deploy = (acme / ".github/workflows/deploy.yml").read_text()
    assert "codebuild-acme-{0}-runner" in deploy and "groundplan-{0}" not in deploy
    for file in (*(acme / ".github/workflows").glob("*.yml"), acme / ".gitlab-ci.yml"):
        assert "<<" not in file.read_text() and isinstance(yaml.safe_load(file.read_text()), dict)
    assert "needs: test" in deploy, "nothing is deployed that is not tested"


def test_its_make_file_names_its_targets(acme: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=acme, capture_output=True, text=True, check=True
    )
    assert {line.split()[1] for line in done.stdout.splitlines()} == {
        "help",
        "up",
        "down",
        "status",
        "test",
        "review",
        "clean",
    }


@pytest.mark.parametrize("there", sorted(MAY_BE_THERE))
def test_what_a_new_repository_comes_with_stays(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    assert (write_repository(tmp_path, "acme", REQUIREMENT).root / there).read_text() == "mine"


@pytest.mark.parametrize(
    ("folder", "name", "says"),
    [
        ("has-a-file", "", "contains main.tf"),
        ("Ünïcode", "1st", "'1st' is not a valid project name"),
        ("long", "a" * 25, "at most 24"),
        ("upper", "Acme", "lowercase letters"),
        ("12", "", "'12' is not a valid project name"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path, folder: str, name: str, says: str) -> None:
    root = tmp_path / folder
    root.mkdir()
    if folder == "has-a-file":
        (root / "main.tf").write_text("")
    before = list(root.iterdir())
    with pytest.raises(UsageError) as raised:
        write_repository(root, name, REQUIREMENT)
    assert says in str(raised.value) and list(root.iterdir()) == before


@pytest.mark.parametrize(
    ("direct", "wanted"),
    [
        ({}, "groundplan==1.2.3"),
        (
            {"url": "https://a/groundplan.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
            "groundplan @ https://a/groundplan.whl#sha256=ab",
        ),
        (
            {"url": "https://a/groundplan.whl", "archive_info": {"hash": "sha256=ab"}},
            "groundplan @ https://a/groundplan.whl#sha256=ab",
        ),
        ({"url": "https://a/groundplan.whl", "archive_info": {}}, "groundplan @ https://a/groundplan.whl"),
        (
            {"url": "https://a/b", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "groundplan @ git+https://a/b@c0ffee",
        ),
        (
            {"url": "file:///home/me/groundplan", "dir_info": {"editable": True}},
            "groundplan @ file:///home/me/groundplan",
        ),
    ],
)
def test_the_release_is_named_by_where_it_was_installed_from(direct: dict[str, Any], wanted: str) -> None:
    assert requirement_of("1.2.3", direct) == wanted


def test_a_wheel_on_this_machine_is_hashed_where_its_installer_has_not(tmp_path: Path) -> None:
    wheel = tmp_path / "a release" / "groundplan-1.2.3.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    said = requirement_of("1.2.3", {"url": wheel.as_uri(), "archive_info": {}})
    assert said == f"groundplan @ {wheel.as_uri()}#sha256={digest}"


def test_the_command_says_what_only_this_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme").mkdir()
    monkeypatch.chdir(tmp_path / "acme")
    monkeypatch.setattr(repository, "own_requirement", lambda: "groundplan @ file:///home/me/groundplan")
    done = CliRunner().invoke(app, ["init"])
    assert (
        done.exit_code == 0
        and "wrote the project acme" in done.output
        and "this is a path on this machine" in done.output
    )
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    done = CliRunner().invoke(app, ["init", "--name", "acme2", "--groundplan", REQUIREMENT, "--json"])
    assert json.loads(done.output)["requirement"] == REQUIREMENT


def test_the_policy_pack_runs_from_where_it_is_written(tmp_path: Path) -> None:
    from groundplan.review.command import review

    pack = write_policy_pack(tmp_path)
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (tmp_path / "program" / "__main__.py").write_text("import pulumi_aws as aws\naws.s3.Bucket('b')\n")
    found = review(tmp_path / "program", packs=(pack,))
    assert {"s3-tls-only", "tagged"} <= {finding.policy for finding in found.findings}
