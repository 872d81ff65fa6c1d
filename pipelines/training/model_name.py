"""Which model a script produces: its name, where that comes from, and a guard against unnoticed takeovers."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from spec.errors import UsageError

if TYPE_CHECKING:
    from pipelines.context import Context, ModelDefinition

MODEL_NAME_LIMIT = 40


def model_name(text: str) -> str:
    """A name that endpoints and Kubernetes objects allow (RFC 1123 label)."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MODEL_NAME_LIMIT].strip("-") or "model"


def named_in(script: Path) -> str:
    """The name that a script itself gives its model, as text in its source: the registered name, else that of its
    experiment.

    Empty where there is none, or where there are several. Nothing is run.
    """
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""
    registered, experiments = set[str](), set[str]()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in node.keywords} | dict(enumerate(node.args))
        registered |= _texts(given.get("registered_model_name"))
        if called == "register_model":
            registered |= _texts(given.get("name", given.get(1)))
        if called == "set_experiment":
            experiments |= _texts(given.get("experiment_name", given.get(0)))
    for names in (registered, experiments):
        if len(names) == 1:
            return next(iter(names))
    return ""


def _texts(node: ast.expr | None) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def owner_of(definition: ModelDefinition) -> str:
    """What produces a model: the folder if it has a ``model.yaml``, else the script. Inside the project, relative to
    it.
    """
    place = definition.folder if (definition.folder / "model.yaml").is_file() else definition.script
    root = project_root(place)
    return str(place) if root is None else str(place.relative_to(root))


def project_root(place: Path) -> Path | None:
    """The project that contains a script or a model's folder: the folder of ``Pulumi.yaml``, or in the image that of
    ``models/``.
    """
    return next(
        (
            parent
            for parent in place.parents
            if (parent / "Pulumi.yaml").is_file() or (parent / "models") in place.parents
        ),
        None,
    )


def check_owner(context: Context, *, take_over: bool = False) -> None:
    """Refuse to continue with a model that another script produces.

    Args:
        take_over: Continue with it anyway.

    Raises:
        UsageError: Another script has produced a model of this name.
    """
    own = owner_of(context.definition)
    if (found := context.read("curated", _key(context))) is None:
        return
    other = json.loads(found)["script"]
    if other != own and not take_over:
        raise UsageError(
            f"the model {context.model} is produced by {other}, but this is {own}",
            where="--name",
            fix=(
                f"give this one another name: --name {model_name(f'{context.model}-2')}; or add --take-over, if it"
                " is the next version of that model"
            ),
        )


def claim(context: Context) -> None:
    """Record that this script produces the model of this name; called once it has produced one."""
    context.put(
        "curated", _key(context), json.dumps({"script": owner_of(context.definition)}).encode(), "application/json"
    )


def _key(context: Context) -> str:
    return f"models/{context.model}/made-by.json"
