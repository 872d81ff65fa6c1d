"""MLflow projects: what a folder's ``MLproject`` file runs (https://mlflow.org/docs/latest/ml/projects/)."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spec.errors import UsageError

FILE = "MLproject"


@dataclass(frozen=True)
class Project:
    """The entry point ``main`` of a project.

    Attributes:
        script: The Python script that it runs.
        words: The command's words after the script, with ``{parameter}`` in place of values.
        defaults: Default of each parameter; None where a value must be given.
    """

    where: str
    script: Path
    words: tuple[str, ...]
    defaults: dict[str, str | None]

    def arguments(self, given: tuple[str, ...]) -> tuple[str, ...]:
        """What the script finds in ``sys.argv``, with parameters as ``mlflow run`` takes them: ``-P name=value``, or
        without the ``-P``.

        Raises:
            UsageError: One is missing, or is not ``name=value``.
        """
        values = dict(self.defaults)
        for word in (word for word in given if word != "-P"):
            name, equals, told = word.removeprefix("-P").partition("=")
            if not equals:
                raise UsageError(
                    f"{word!r} is not a parameter",
                    where=self.where,
                    fix=f"groundplan experiment FOLDER -- {next(iter(self.defaults), 'name')}=VALUE",
                )
            values[name] = told
        missing = [
            name
            for name, value in values.items()
            if value is None and any(f"{{{name}}}" in word for word in self.words)
        ]
        if missing:
            wanted = " ".join(f"{name}=VALUE" for name in missing)
            raise UsageError(
                f"the parameter{'s' if len(missing) > 1 else ''} {', '.join(missing)} must be given",
                where=self.where,
                fix=f"groundplan experiment FOLDER -- {wanted}",
            )
        found = []
        for word in self.words:
            filled = word
            for name, value in values.items():
                filled = filled.replace(f"{{{name}}}", value or "")
            found.append(filled)
        # As MLflow does with parameters that the file does not name.
        more = [
            part
            for name, value in values.items()
            if name not in self.defaults and f"{{{name}}}" not in self.words
            for part in (f"--{name}", str(value))
        ]
        return (*found, *more)


def project_of(folder: Path) -> Project | None:
    """The project in a folder; None where it is not a project.

    Raises:
        UsageError: The file is invalid, has no entry point ``main``, or runs something other than a Python script.
    """
    import yaml

    path = folder / FILE
    if not path.is_file():
        return None
    where = str(path)
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        main = document["entry_points"]["main"]
        words, declared = shlex.split(str(main["command"])), main.get("parameters") or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(
            "has no entry point `main` with a command",
            where=where,
            fix="name the script itself: groundplan experiment FOLDER/train.py",
        ) from None
    if len(words) < 2 or words[0] not in ("python", "python3") or not words[1].endswith(".py"):
        fix = "name the script itself: groundplan experiment FOLDER/train.py"
        raise UsageError(
            f"its entry point `main` runs {words[0] if words else 'nothing'!r}, but only `python SCRIPT` is supported",
            where=where,
            fix=fix,
        )
    script = folder / words[1]
    if not script.is_file():
        raise UsageError(f"its entry point `main` runs {words[1]}, but there is no such file", where=where)
    defaults = {str(name): _default(value) for name, value in declared.items()}
    return Project(where, script, tuple(words[2:]), defaults)


def _default(declared: Any) -> str | None:
    if isinstance(declared, dict) and "default" in declared:
        return str(declared["default"])
    return None
