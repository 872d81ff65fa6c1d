"""Messages about invalid objectives: which file and key, what was given, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from spec.objectives.model import StackConfig


def messages(error: ValidationError, where: str) -> Iterator[str]:
    """A line for each mistake in a stack file."""
    return (_message(item, where) for item in _causes(error.errors()))


def _causes(errors: list[Any]) -> list[Any]:
    """The mistakes themselves, without those that only follow from them: a list's length without its invalid items, the
    contents of an invalid name.
    """
    names = [item["loc"][:-1] for item in errors if item["loc"][-1] == "[key]"]

    def follows(item: Any) -> bool:
        place = item["loc"]
        below_a_wrong_name = place[-1] != "[key]" and any(place[: len(name)] == name for name in names)
        of_wrong_items = item["type"] == "too_short" and any(
            len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
        )
        return below_a_wrong_name or of_wrong_items

    return [item for item in errors if not follows(item)]


# Pydantic's own words speak of Python's types.
_LENGTHS = {
    "too_short": "at least {min_length} must be named",
    "too_long": "at most {max_length} may be named",
    "tuple_type": "must be a list",
}


def _message(item: Any, where: str) -> str:
    """One line for one Pydantic error: file, key, what was given, what is allowed."""
    path = [str(part) for part in item["loc"] if part != "[key]"]
    key = ".".join(path)
    key = {"account_id": "aws:allowedAccountIds"}.get(key, key.replace("objectives", "groundplan:objectives", 1))
    if item["type"] == "missing":
        return f"{where}: {key} is missing\n  -> add it; stacks/Pulumi.local.yaml shows the form"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(_known_keys(path[:-1]))}"
        return f"{where}: {key} is not a known objective\n  -> {hint}"
    allowed = _LENGTHS.get(item["type"], "{msg}").format(msg=item["msg"], **item.get("ctx", {}))
    allowed = allowed.removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(item["input"], dict):  # a rule over several keys names them itself
        return f"{where}: {key}: {allowed}"
    return f"{where}: {key}: {item['input']!r} given; {allowed}"


def _known_keys(path: list[str]) -> list[str]:
    """Field names of the model at ``path`` (parts as in the error location)."""
    model: type[BaseModel] = StackConfig
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            continue  # the name of a model
        kinds = (field.annotation, *get_args(field.annotation))
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
