"""``groundplan init``: a company's own repository, with groundplan as a dependency and none of its code."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from spec.errors import UsageError

TEMPLATES = Path(__file__).parent / "templates" / "repository"
MAY_BE_THERE = {".git", ".gitignore", "README.md", "LICENSE", ".venv"}  # what a new repository may already contain
LONGEST_NAME = 24  # names of buckets begin with it, and have at most 63 characters
# The path of each template's file. The workflows are those that this project runs itself.
FILES = {
    "Pulumi.yaml.txt": "Pulumi.yaml",
    "main.py.txt": "__main__.py",
    "Makefile.txt": "Makefile",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "pytest.ini.txt": "pytest.ini",
    "test_stacks.py.txt": "tests/test_stacks.py",
    "test.yml.txt": ".github/workflows/test.yml",
    "review.yml": ".github/workflows/review.yml",
    "deploy.yml": ".github/workflows/deploy.yml",
    "model-release.yml": ".github/workflows/model-release.yml",
    "experiment.yml": ".github/workflows/experiment.yml",
    "drift.yml": ".github/workflows/drift.yml",
    "gitlab-ci.yml": ".gitlab-ci.yml",
    "pulumi.version": ".pulumi.version",
    "requirements.lock": "requirements.lock",
    "requirements-tools.lock": "requirements-tools.lock",
}
_RUNNER = "codebuild-groundplan-"  # prefix of the name of a stack's own runner, followed by the stack's name
_COMMON = {"manifests": "", "hours": "", "region": "eu-central-1", "residency": "eu", "whose": "yours", "add_to": ""}
STACKS: dict[str, dict[str, str]] = {
    "local": (
        _COMMON
        | {
            "says": "The platform on one laptop: no account, no credentials, the same program.",
            "whose": "the local cloud's",
            "region": "us-east-1",
            "account": "123456789012",
            "manifests": (
                "  # A laptop has no cluster: Kubernetes objects are written to files, not applied.\n "
                " kubernetes:renderYamlToDirectory: rendered/local\n"
            ),
            "compliance": "[]",
            "residency": "anywhere",
            "availability": "one-zone",
            "per_second": "50",
            "retention_days": "7",
            "monthly_usd": "1500",
        }
    ),
    "dev": (
        _COMMON
        | {
            "says": "Where people try things: no personal data, switched off at night.",
            "account": "111122223333",
            "compliance": "[]",
            "availability": "one-zone",
            "hours": "    office_hours: {start: 7, end: 20, timezone: Europe/Berlin}\n",
            "per_second": "20",
            "retention_days": "30",
            "monthly_usd": "1000",
            "add_to": " --stack dev",
        }
    ),
    "staging": (
        _COMMON
        | {
            "says": "Like production, but smaller: what runs here runs there.",
            "account": "222233334444",
            "compliance": "[gdpr]",
            "availability": "multi-zone",
            "hours": "    office_hours: {start: 6, end: 22, timezone: Europe/Berlin}\n",
            "per_second": "100",
            "retention_days": "30",
            "monthly_usd": "2500",
            "add_to": " --stack staging",
        }
    ),
    "prod": (
        _COMMON
        | {
            "says": "Production.",
            "account": "333344445555",
            "compliance": "[gdpr]",
            "availability": "multi-zone",
            "per_second": "500",
            "retention_days": "365",
            "monthly_usd": "6000",
            "add_to": " --stack prod",
        }
    ),
}


@dataclass(frozen=True)
class Written:
    """A new repository.

    Attributes:
        files: Their paths in it.
        requirement: What it depends on, as pip reads it.
    """

    root: Path
    name: str
    files: tuple[str, ...]
    requirement: str

    @property
    def only_here(self) -> bool:
        """Whether what it depends on is a path on this machine."""
        return "file://" in self.requirement


def write_repository(root: Path, name: str = "", requirement: str = "") -> Written:
    """Write a repository into an empty folder.

    Args:
        name: Name of the Pulumi project, with which names of resources begin. Default: the folder's.
        requirement: Groundplan, as pip reads it. Default: this installation, from where it was installed.

    Raises:
        UsageError: The folder is not empty, or the name is invalid; nothing was written.
    """
    name = name or re.sub(r"[^a-z0-9]+", "-", root.resolve().name.lower()).strip("-")
    if not re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", name) or len(name) > LONGEST_NAME:
        raise UsageError(
            f"{name!r} is not a valid project name",
            where="--name",
            fix=f"use lowercase letters, digits and dashes, beginning with a letter, at most {LONGEST_NAME}",
        )
    requirement = requirement or own_requirement()
    texts = repository_files(name, requirement)
    if root.exists():
        others = sorted({path.name for path in root.iterdir()} - MAY_BE_THERE)
        if others:
            raise UsageError(
                f"contains {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}",
                where=str(root),
                fix="run it in an empty folder",
            )
        texts = {file: text for file, text in texts.items() if not (root / file).exists()}
    for file, text in texts.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    (root / "models").mkdir(exist_ok=True)
    return Written(root, name, tuple(texts), requirement)


def repository_files(name: str, requirement: str) -> dict[str, str]:
    """The text of every file that ``init`` writes, by its path."""
    from importlib.metadata import version

    from spec.objectives import stack_schema

    given = {
        "name": name,
        "version": version("groundplan"),
        "in_a_year": (date.today() + timedelta(days=365)).isoformat(),  # noqa: DTZ011 (its user's day)
    }
    texts = {target: _filled(template, given) for template, target in FILES.items()}
    for stack, values in STACKS.items():
        texts[f"stacks/Pulumi.{stack}.yaml"] = _filled("stack.yaml.txt", given | values | {"environment": stack})
    texts["stacks/objectives.schema.json"] = json.dumps(stack_schema(), indent=1) + "\n"
    texts["models/.gitkeep"] = ""
    texts["requirements.txt"] = f"{requirement}\n"
    return texts


def _filled(template: str, given: dict[str, str]) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8").replace(_RUNNER, f"codebuild-{given['name']}-")
    return re.sub(r"<<(\w+)>>", lambda found: given[found[1]], text) if template.endswith(".txt") else text


def own_requirement() -> str:
    """This installation of groundplan as pip reads it (PEP 440, PEP 610): a version, a URL with its hash, or a path on
    this machine.
    """
    from importlib.metadata import distribution

    own = distribution("groundplan")
    return requirement_of(own.version, json.loads(own.read_text("direct_url.json") or "{}"))


def requirement_of(version: str, direct: dict[str, Any]) -> str:
    """Groundplan as pip reads it.

    Args:
        direct: Where it comes from, in the form of PEP 610; empty where that is an index.
    """
    if not direct:
        return f"groundplan=={version}"
    address = direct["url"]
    if commit := direct.get("vcs_info", {}).get("commit_id"):
        address = f"{direct['vcs_info']['vcs']}+{address}@{commit}"
    elif digest := _digest(address, direct.get("archive_info", {})):
        address = f"{address}#sha256={digest}"
    return f"groundplan @ {address}"


def _digest(address: str, archive: dict[str, Any]) -> str:
    """SHA-256 of an archive: uv and pip before 23.1 do not say that of a file, so it is read."""
    if stated := (archive.get("hashes") or {}).get("sha256"):
        return str(stated)
    kind, _, stated = (archive.get("hash") or "").partition("=")
    if kind == "sha256":
        return str(stated)
    file = Path(unquote(urlsplit(address).path))
    if not address.startswith("file:") or not file.is_file():
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_policy_pack(folder: Path) -> Path:
    """Write the pack as Pulumi's engine starts it, from wherever groundplan is installed.

    Args:
        folder: Folder of the project's state.

    Returns:
        The pack's folder.
    """
    pack = folder / "policy-pack"
    pack.mkdir(parents=True, exist_ok=True)
    description = {
        "description": "Groundplan's controls",
        "runtime": {"name": "python", "options": {"virtualenv": sys.prefix}},
    }
    (pack / "PulumiPolicy.yaml").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")  # JSON is YAML
    (pack / "__main__.py").write_text(
        'import runpy\n\nrunpy.run_module("policies", run_name="__main__")\n', encoding="utf-8"
    )
    return pack
