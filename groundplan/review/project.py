"""A Pulumi project on disk: its ``Pulumi.yaml``, its stacks, and the configuration that a program gets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spec.errors import UsageError

SECRET_VALUE = "[secret]"  # noqa: S105 (placeholder of a value that only the stack's key decrypts)


@dataclass(frozen=True)
class Project:
    """A Python project.

    Attributes:
        root: Its folder.
        main: The program: a folder with ``__main__.py``, or a file.
        stacks: Where the stack files are.
        defaults: Default values in ``Pulumi.yaml`` for configuration keys.
        virtualenv: The project's own virtualenv; None where it names none.
    """

    root: Path
    name: str
    main: Path
    stacks: Path
    defaults: dict[str, Any]
    virtualenv: Path | None = None


def read_project(path: Path) -> Project:
    """Read ``Pulumi.yaml``.

    Raises:
        UsageError: It does not exist, can't be read, or the program is not in Python.
    """
    import yaml

    root = path.resolve()
    file = next((root / name for name in ("Pulumi.yaml", "Pulumi.yml") if (root / name).is_file()), None)
    if file is None:
        raise UsageError(
            "is not a Pulumi project: it has no Pulumi.yaml", where=str(path), fix="name a folder with Pulumi.yaml"
        )
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"not readable as YAML: {' '.join(str(error).split())}", where=str(file)) from None
    if not isinstance(document, dict) or "name" not in document:
        raise UsageError("does not name a project", where=str(file), fix="it needs `name:` and `runtime:`")
    runtime = document.get("runtime")
    kind, options = (runtime.get("name"), runtime.get("options") or {}) if isinstance(runtime, dict) else (runtime, {})
    if kind != "python":
        raise UsageError(f"is a program in {kind}; only Python ones can be reviewed", where=str(file))
    main = root / str(document.get("main") or ".")
    if not (main / "__main__.py").is_file() and not main.is_file():
        raise UsageError("has no program", where=str(main), fix="it needs a __main__.py")
    return Project(
        root,
        str(document["name"]),
        main,
        root / str(document.get("stackConfigDir") or "."),
        _defaults(document),
        _virtualenv(root, main, options),
    )


def _virtualenv(root: Path, main: Path, options: dict[str, Any]) -> Path | None:
    """The project's own virtualenv, where the Pulumi CLI would look for it.

    https://www.pulumi.com/docs/iac/languages-sdks/python/#toolchain
    """
    if named := options.get("virtualenv"):
        return (main.parent if main.is_file() else root) / str(named)
    toolchain = options.get("toolchain")
    if toolchain not in ("uv", "poetry"):
        return None
    folders = [folder for folder in (root, *root.parents) if (folder / "pyproject.toml").is_file()]
    inside = [folder / ".venv" for folder in (root, *folders[:1])]
    if toolchain == "uv":
        inside.insert(0, root / os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv"))
    found = next((folder for folder in inside if folder.is_dir()), None)
    if found is None and toolchain == "poetry" and (poetry := shutil.which("poetry")):
        done = subprocess.run([poetry, "env", "info", "--path"], cwd=root, capture_output=True, text=True)
        return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else inside[0]
    return found or inside[0]


def _defaults(document: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in (document.get("config") or {}).items():
        default = value.get("value", value.get("default")) if isinstance(value, dict) else value
        if default is not None:
            found[key if ":" in key else f"{document['name']}:{key}"] = default
    return found


def stacks_of(project: Project) -> list[str]:
    """Names of the stacks that have a file."""
    return sorted(
        path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in project.stacks.glob("Pulumi.*.yaml")
    )


def choose_stack(project: Project, wanted: str) -> str:
    """The selected stack: the one named, the only one, else ``dev``.

    Raises:
        UsageError: The one named has no file while others have, or there are several and none was named.
    """
    known = stacks_of(project)
    if wanted:
        if known and wanted not in known:
            raise UsageError(
                f"unknown stack {wanted!r}", where=str(project.root), fix=f"use one of: {', '.join(known)}"
            )
        return wanted
    if len(known) > 1:
        raise UsageError(
            f"has {len(known)} stacks", where=str(project.root), fix=f"name one with --stack: {', '.join(known)}"
        )
    return known[0] if known else "dev"


def read_config(project: Project, stack: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """The program's configuration: defaults, the stack file, then ``key=value`` overrides.

    Raises:
        UsageError: The stack file can't be read, or an override is not ``key=value``.
    """
    import yaml

    config: dict[str, Any] = dict(project.defaults)
    file = project.stacks / f"Pulumi.{stack}.yaml"
    if file.is_file():
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"not readable as YAML: {' '.join(str(error).split())}", where=str(file)) from None
        for key, value in (document.get("config") or {}).items():
            secure = isinstance(value, dict) and set(value) == {"secure"}
            config[key] = SECRET_VALUE if secure else value
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UsageError(
                f"expected KEY=VALUE, got {item!r}",
                where="--config",
                fix="for example --config aws:region=eu-central-1",
            )
        config[key if ":" in key else f"{project.name}:{key}"] = text
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in config.items()}
