"""``groundplan contract catalogue``: the page of all data that comes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from groundplan.contracts.check import all_files
from spec.contracts import Contract, Field, load_contracts
from spec.contracts.model import as_text


def catalogue(root: Path) -> str:
    """Who answers for the data, what each field means, what is personal."""
    lines = [
        "<!-- Made by `make docs`. -->",
        "# Data",
        (
            "What comes in on each topic, as its contract says (`models/*/contracts/`). Personal fields are stored as"
            " tokens."
        ),
    ]
    for path in all_files(root):
        for contract in load_contracts(path):
            lines += _of_contract(contract, str(path.relative_to(root)))
    return "\n".join(lines) + "\n"


def _of_contract(contract: Contract, file: str) -> Iterator[str]:
    personal = ", ".join(f"`{'.'.join(path)}`" for path, item in contract.leaves() if item.personal) or "none"
    level = ", ".join(f"{name} {value} {unit}".strip() for name, value, unit in contract.service_levels) or "none given"
    time = f", event time `{contract.event_time}`" if contract.event_time else ""
    key = " and ".join(f"`{name}`" for name in contract.keys) or "none"
    yield from ("", f"## {contract.name}")
    yield f"Topic `{contract.topic}`, version {contract.version}, {contract.compatibility}; key {key}{time};"
    yield (
        f"owner {contract.owner or 'not named'}; service level: {level}; personal fields: {personal}."
        f" [`{file}`](../{file})"
    )
    yield from ("", "| field | type | unit | meaning | allowed |", "|---|---|---|---|---|")
    for item in contract.fields:
        yield from _rows(item, "")


def _rows(item: Field, above: str) -> Iterator[str]:
    name = f"{above}{item.name}" if item.name == "[]" else f"{above}.{item.name}" if above else item.name
    yield f"| `{name}` | {_type(item)} | {item.unit} | {_cell(item.description)} | {', '.join(_allowed(item))} |"
    for part in item.parts:
        yield from _rows(part, name)


def _type(item: Field) -> str:
    return f"decimal, {item.digits} digits, {item.scale} behind the point" if item.kind == "decimal" else item.kind


def _allowed(item: Field) -> Iterator[str]:
    limits = item.limits
    if limits.least is not None or limits.most is not None:
        yield _range(item)
    if limits.pattern:
        yield f"`{_cell(limits.pattern)}`"
    if limits.allowed:
        yield "one of " + ", ".join(f"`{_cell(str(value))}`" for value in limits.allowed)
    what = "items" if item.kind == "array" else "characters"
    if limits.shortest:
        yield f"at least {limits.shortest} {what}"
    if limits.longest is not None:
        yield f"up to {limits.longest} {what}"
    if not item.required:
        yield "may be empty"
    if item.personal:
        yield "personal"
    if item.not_personal:
        yield f"not personal: {_cell(item.not_personal)}"


def _range(item: Field) -> str:
    limits = item.limits
    least = (
        ""
        if limits.least is None
        else f"{'above ' if limits.least_open else '' if limits.most is not None else 'from '}{as_text(limits.least)}"
    )
    most = "" if limits.most is None else f"{'below' if limits.most_open else 'to'} {as_text(limits.most)}"
    return f"{least} {most}".strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
