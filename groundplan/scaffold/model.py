"""``groundplan add model``: a model's folder from a CSV file, and its objectives in a stack file; all of it or
nothing.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from spec.errors import UsageError

MOST_MB = 100  # of a sample that lives in a repository
FEW_CLASSES = 20  # whole numbers with more values than this are amounts
MOST_SHOWN = 12
TEMPLATES = Path(__file__).parent / "templates" / "model"
_DATES = {
    "2024-01-31": r"\d{4}-\d{1,2}-\d{1,2}([ T].*)?",
    "2024/01/31": r"\d{4}/\d{1,2}/\d{1,2}([ T].*)?",
    "31/01/2024": r"\d{1,2}/\d{1,2}/\d{2,4}([ T].*)?",
    "31.01.2024": r"\d{1,2}\.\d{1,2}\.\d{2,4}([ T].*)?",
    "31-01-2024": r"\d{1,2}-\d{1,2}-\d{2,4}([ T].*)?",
    "Jan 31, 2024": r"[A-Za-z]{3,9}\.? \d{1,2},? \d{4}",
    "31 Jan 2024": r"\d{1,2}\.? [A-Za-z]{3,9}\.?,? \d{4}",
}


@dataclass(frozen=True)
class Added:
    """What was written.

    Attributes:
        task: ``classification`` or ``regression``.
        key: Field that identifies the rows.
        numbered: Whether the key is a number that the source assigns to each row.
    """

    folder: Path
    stack_file: Path
    task: str
    key: str
    numbered: bool
    rows: int


@dataclass(frozen=True)
class _Table:
    """A CSV file that was analyzed."""

    path: Path
    columns: list[str]
    delimiter: str
    rows: int
    properties: list[dict[str, Any]]


def add_model(root: Path, name: str, source: Path, target: str = "", key: str = "", stack: str = "local") -> Added:
    """Write ``models/NAME/`` and the model's objectives.

    Args:
        target: Column that the model predicts.
        key: Column that identifies the rows. Default: one that does and is named like a key; else rows are numbered.
        stack: The stack whose file gets the objectives.

    Raises:
        UsageError: The name is taken or invalid, the file is not a table that can be learned from, or the objectives
            can't be met; nothing was written.
    """
    from pipelines.training.model_name import model_name
    from spec.objectives import load
    from spec.objectives.reading import stack_file

    folder, file = root / "models" / name, stack_file(root, stack)
    if name != model_name(name):
        raise UsageError(
            f"{name!r} is not the name of a model",
            where="NAME",
            fix="use lowercase letters, digits and dashes, at most 40",
        )
    if folder.exists() or name in load(root, stack).objectives.models:
        there = f"models/{name}" if folder.exists() else f"stacks/{file.name}"
        raise UsageError(
            f"model {name!r} already exists", where=there, fix="choose another name, or remove that one first"
        )
    table = _look(source)
    target = _target(table, target)
    properties, key, numbered = _keyed(table, key, target)
    classes = _classes(table, target)
    before = file.read_text(encoding="utf-8")
    unfinished = folder.with_name(f".{name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write(unfinished, name, table, target, key, numbered, properties, classes=bool(classes))
        _check(unfinished)
        unfinished.rename(folder)
        file.write_text(with_model(before, objectives(name, table, target, classes)), encoding="utf-8")
        _afford(root, stack)
    except BaseException:
        file.write_text(before, encoding="utf-8")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Added(folder, file, "classification" if classes else "regression", key, numbered, table.rows)


def _look(source: Path) -> _Table:
    """The file's columns and their contents.

    Raises:
        UsageError: It is not a CSV file with rows, or too large for a repository.
    """
    where = str(source)
    if not source.is_file():
        raise UsageError("no such file", where=where, fix="name a CSV file")
    if source.suffix.lower() not in (".csv", ".tsv"):
        raise UsageError(
            "is not a .csv or .tsv file",
            where=where,
            fix="export the data as CSV; `groundplan contract import` reads other formats",
        )
    if (size := source.stat().st_size) > MOST_MB * 1_000_000:
        raise UsageError(
            f"is {size / 1e9:.1f} GB; a repository holds a sample of up to {MOST_MB} MB",
            where=where,
            fix="give a sample; the full data arrives through the topic",
        )
    if not size:
        raise UsageError("is empty", where=where, fix="give a file with a line of column names and rows below")
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t|", key=first.count)
            columns = next(csv.reader([first], delimiter=delimiter))
            rows = sum(1 for row in csv.reader(file, delimiter=delimiter) if row)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}",
            where=where,
            fix="save it as UTF-8",
        ) from None
    if len(columns) < 2:
        apart = (
            "blanks separate its columns"
            if len(first.split()) > 1
            else "has one column, so there is nothing to predict from"
        )
        raise UsageError(apart, where=where, fix="give a file with columns separated by commas, semicolons or tabs")
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise UsageError(f"has the column {twice[0]!r} twice", where=where, fix="rename one of the two")
    if nameless := [str(place) for place, name in enumerate(columns, 1) if not name.strip()]:
        raise UsageError(f"column {nameless[0]} has no name", where=where, fix="name each column in the first line")
    if not rows:
        raise UsageError("has column names and no rows", where=where, fix="give a file with rows to learn from")
    from groundplan.contracts.importing import contract_from

    properties = contract_from(source, "rows")["schema"][0]["properties"]
    if [item["name"] for item in properties] != columns:
        raise UsageError(
            f"its first line does not name the columns: {', '.join(columns[:MOST_SHOWN])}",
            where=where,
            fix="write the columns' names there",
        )
    _refuse_mixed_dates(source, delimiter, [item["name"] for item in properties if item["logicalType"] == "string"])
    return _Table(source, columns, delimiter, rows, properties)


def _rows(source: Path, delimiter: str) -> Iterator[dict[str, str]]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def _refuse_mixed_dates(source: Path, delimiter: str, texts: list[str]) -> None:
    seen: dict[str, Counter[str]] = {name: Counter() for name in texts}
    for row in islice(_rows(source, delimiter), 10_000):
        for name in texts:
            if value := (row[name] or "").strip():
                seen[name][next((form for form, pattern in _DATES.items() if re.fullmatch(pattern, value)), "")] += 1
    for name, forms in seen.items():
        dates = [form for form in forms if form]
        if len(dates) > 1 and forms[""] <= 0.1 * forms.total():
            raise UsageError(
                f"column {name} has dates in {len(dates)} formats, such as {' and '.join(dates)}",
                where=str(source),
                fix="write them all as 2024-01-31",
            )


def _target(table: _Table, target: str) -> str:
    if target in table.columns:
        return target
    shown = ", ".join(table.columns[:MOST_SHOWN]) + (", ..." if len(table.columns) > MOST_SHOWN else "")
    what = f"{table.path.name} has no column {target!r}" if target else "say which column the model predicts"
    raise UsageError(what, where="--target", fix=f"one of: {shown}")


def _keyed(table: _Table, key: str, target: str) -> tuple[list[dict[str, Any]], str, bool]:
    """The properties with one of them as the key, its name, and whether the source must number the rows for it."""
    properties = [{name: value for name, value in item.items() if name != "primaryKey"} for item in table.properties]
    own = [item["name"] for item in table.properties if item.get("primaryKey") and item["name"] != target]
    found = key or (own[0] if own and len(table.columns) > 2 else "")  # of two columns the other one is the feature
    if key and key not in table.columns:
        raise UsageError(
            f"{table.path.name} has no column {key!r}",
            where="--key",
            fix="name a column whose values are all different",
        )
    if found:
        kind = next(item for item in properties if item["name"] == found)
        if key and (repeated := _repeated(table, key)):
            raise UsageError(
                f"column {key} does not identify the rows: {repeated!r} appears twice",
                where="--key",
                fix="name another, or omit --key",
            )
        if kind["logicalType"] in ("string", "integer"):
            kind |= {"required": True, "primaryKey": True}
            return properties, found, False
        raise UsageError(
            f"column {found} holds {kind['logicalType']}s; a key is a text or a whole number",
            where="--key",
            fix="name another",
        )
    name = "row_number"
    while name in table.columns:
        name += "_"
    return [{"name": name, "logicalType": "integer", "required": True, "primaryKey": True}, *properties], name, True


def _repeated(table: _Table, key: str) -> str:
    seen = set[str]()
    for row in _rows(table.path, table.delimiter):
        if row[key] in seen:
            return row[key]
        seen.add(row[key])
    return ""


def _values(table: _Table, name: str) -> list[str]:
    return [row[name] for row in _rows(table.path, table.delimiter) if row[name] not in ("", None)]


def _classes(table: _Table, target: str) -> list[str]:
    """The classes of a classifier; empty where the target is an amount."""
    kind = next(item["logicalType"] for item in table.properties if item["name"] == target)
    values = sorted(set(_values(table, target)))
    if len(values) < 2:
        raise UsageError(
            f"column {target} holds {'one value' if values else 'nothing'}, so there is nothing to predict",
            where="--target",
            fix="name another",
        )
    if kind in ("string", "boolean") or (kind == "integer" and len(values) <= FEW_CLASSES):
        if len(values) > table.rows / 2:
            raise UsageError(
                f"column {target} has {len(values):,} different texts in {table.rows:,} rows",
                where="--target",
                fix="name one with few classes",
            )
        return values
    return []


def _write(
    folder: Path,
    name: str,
    table: _Table,
    target: str,
    key: str,
    numbered: bool,
    properties: list[dict[str, Any]],
    *,
    classes: bool,
) -> None:
    from groundplan.contracts.importing import as_yaml, contract

    folder.mkdir(parents=True)
    file = f"data{table.path.suffix.lower()}"
    shutil.copyfile(table.path, folder / file)
    kinds = {"integer": "int", "number": "float"}
    given = {
        "name": name,
        "title": name.replace("-", " ").capitalize(),
        "target": _literal(target),
        "file": file,
        "delimiter": "" if table.delimiter == "," else f", delimiter={_literal(table.delimiter)}",
        "numbered": f"{_literal(key)}: number, " if numbered else "",
        "each": "number, row in enumerate(read)" if numbered else "row in read",
        "kinds": ", ".join(
            _kind(item, kinds)
            for item in properties
            if item["logicalType"] in ("integer", "number", "boolean") and item["name"] in table.columns
        ),
        "features": _literal([item["name"] for item in properties if item["name"] not in (key, target)]),
        "estimator": "HistGradientBoostingClassifier" if classes else "HistGradientBoostingRegressor",
        "metric": "balanced_accuracy_score" if classes else "mean_absolute_error",
        "metric_name": "balanced_accuracy" if classes else "mae",
        "stratify": ", stratify=data[TARGET]" if classes else "",
    }
    for template in sorted(TEMPLATES.glob("*.txt")):
        own = {**given, "target": _yaml(target)} if template.name.startswith("model.yaml") else given
        written = folder / template.name.removesuffix(".txt").replace("test_model", f"test_{name.replace('-', '_')}")
        written.write_text(Template(template.read_text(encoding="utf-8")).substitute(own), encoding="utf-8")
    document = contract(name.replace("-", "_"), properties, title=given["title"], topic=name)
    (folder / "contract.yaml").write_text(as_yaml(document), encoding="utf-8")


def _kind(item: dict[str, Any], kinds: dict[str, str]) -> str:
    kind = item["logicalType"]
    return f"{_literal(item['name'])}: " + (
        'lambda text: text.strip().lower() in ("true", "t", "yes", "1")' if kind == "boolean" else kinds[kind]
    )


def _literal(value: Any) -> str:
    """As a Python literal, with the quotes that formatters expect."""
    return json.dumps(value, ensure_ascii=False)


def _yaml(text: str) -> str:
    import yaml

    return yaml.safe_dump(text, default_flow_style=True, allow_unicode=True).splitlines()[0]


def _check(folder: Path) -> None:
    """Check that what was written is a model, and that its events match the contract generated from them.

    Raises:
        UsageError: They do not.
    """
    from groundplan.testing import refused_events
    from pipelines.context import load_definition

    load_definition(folder)
    if refused := refused_events(folder):
        raise UsageError(
            f"the file's rows differ too much to be one table: {refused[0]}",
            where=str(folder.name),
            fix="use one format for the column",
        )


def objectives(name: str, table: _Table, target: str, classes: list[str]) -> str:
    """The model's objectives, as lines of a stack file; the worst quality is what a model that learned nothing would
    reach.
    """
    if classes:
        value, quality = (
            ("balanced_accuracy", "share of rows classified correctly"),
            (
                "balanced_accuracy",
                f"{1 / len(classes):.3f}",
            ),
        )
    else:
        amounts = sorted(map(float, _values(table, target)))
        middle = amounts[len(amounts) // 2]
        error = sum(abs(amount - middle) for amount in amounts) / len(amounts)
        value, quality = ("mae", _yaml(target)), ("mae", f"{max(error, 1e-9):.4g}")
    return f"""      {name}:
        value:
          kpi: {value[0]}
          unit: {value[1]}
          usd_per_unit: 0 # what one unit better is worth, for each prediction
          predictions_per_month: 10000
        latency_ms: 100
        requests_per_second: {{average: 1, peak: 5}}
        retraining: {{every_hours: 24, within_minutes: 60}}
        quality: {{metric: {quality[0]}, worst: {quality[1]}}} # what a model that learned nothing reaches: require more
        drift_share: 0.5
        explanations: true
"""


def with_model(text: str, block: str) -> str:
    """A stack file's text with one more model, its comments and order kept.

    Args:
        block: The model's lines.
    """
    import yaml

    def value(mapping: Any, key: str) -> Any:
        return next(value for name, value in mapping.value if name.value == key)

    models = value(value(value(yaml.compose(text), "config"), "groundplan:objectives"), "models")
    lines = text.splitlines(keepends=True)
    if models.flow_style:  # models: {}
        line = models.start_mark.line
        lines[line] = lines[line][: models.start_mark.column].rstrip() + "\n"
        return "".join([*lines[: line + 1], block, *lines[line + 1 :]])
    last = models.value[-1][1]
    while getattr(last, "value", None) and not isinstance(last.value, str) and not last.flow_style:
        last = last.value[-1][1] if isinstance(last.value[-1], tuple) else last.value[-1]
    end = last.end_mark.line + 1
    indent = " " * models.start_mark.column
    shifted = "".join(
        f"{indent}{line[6:]}" if line.startswith("      ") else line for line in block.splitlines(keepends=True)
    )
    return "".join([*lines[:end], shifted, *lines[end:]])


def _afford(root: Path, stack: str) -> None:
    """Whether the stack's objectives can still be met.

    Raises:
        UsageError: They can't, with what would have to change.
    """
    from infra.design import design
    from infra.design.price_book import load_prices
    from spec.objectives import load

    config = load(root, stack)
    design(config.objectives, load_prices(config.region), config.region)
