"""Cost-and-usage reports as AWS exports them: CUR 2.0, the CUR before it, and FOCUS; CSV (also gzip) or Parquet.

https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2.html, https://focus.finops.org/focus-specification/
Rows are added up where they lie (DuckDB), so that a report may be larger than memory.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.monitoring.spending import Spent
from spec.errors import UsageError

_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv", ".csv.zip": "zip"}
# Names of columns, in snake case, by what they say; the first one that a report has is taken.
_STARTS = ("line_item_usage_start_date", "charge_period_start")
_COSTS = ("line_item_unblended_cost", "billed_cost")
_SERVICES = ("product_product_name", "service_name", "line_item_product_code")
_RESOURCES = ("line_item_resource_id", "resource_id")
_CURRENCIES = ("line_item_currency_code", "billing_currency")
_TAG_COLUMNS = ("resource_tags", "tags")


def by_report(source: str, project: str, stack: str, begin: date, end: date) -> tuple[list[Spent], str]:
    """A stack's days of a report, by its tags ``Project`` and ``Environment``, and what of the report has no such tags.

    Args:
        source: A file, a folder, or what lies below an ``s3://`` address.

    Raises:
        UsageError: There is no report, or it is none.
    """
    with _files(source, begin) as files:
        found = [_read(files[kind], kind, source) for kind in files]
        spent: list[Spent] = []
        untagged = others = 0.0
        for rows in found:
            for day, service, resource, of_project, of_stack, model, usd in rows:
                if not begin <= day < end:
                    continue
                if not of_stack:
                    untagged += usd
                elif of_stack == stack and of_project in ("", project):
                    spent.append(Spent(day, service, model, usd, resource))
                else:
                    others += usd
    says = f"{untagged:,.2f} USD of it have no tag Environment, {others:,.2f} USD are of other stacks"
    return spent, says


@contextmanager
def _files(source: str, begin: date) -> Iterator[dict[str, list[str]]]:
    """Files of a report, by their kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = _fetched(source, Path(folder), begin) if source.startswith("s3://") else Path(source)
        if not path.exists():
            raise UsageError("there is no such file or folder", where=source, fix="name a report that AWS has exported")
        known: dict[str, list[str]] = {}
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            kind = next((kind for suffix, kind in _SUFFIXES.items() if file.name.lower().endswith(suffix)), "")
            if kind == "zip":
                file, kind = _unzipped(file, Path(folder)), "csv"
            if kind:
                known.setdefault(kind, []).append(str(file))
        if not known:
            raise UsageError("contains no cost-and-usage report", where=source, fix=f"expected {', '.join(_SUFFIXES)}")
        yield known


def _unzipped(file: Path, folder: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        if not names:
            raise UsageError("contains no CSV file", where=str(file))
        return Path(archive.extract(names[0], folder / file.name.removesuffix(".zip")))


def _fetched(address: str, folder: Path, begin: date) -> Path:
    """What lies below an address of S3, of a partitioned report only the months from ``begin`` on."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                key = item["Key"]
                month = re.search(r"BILLING_PERIOD=(\d{4}-\d{2})", key)
                if key.lower().endswith(tuple(_SUFFIXES)) and not (month and month[1] < f"{begin:%Y-%m}"):
                    target = folder / key
                    target.parent.mkdir(parents=True, exist_ok=True)
                    client.download_file(bucket, key, str(target))
    except (BotoCoreError, ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
        raise UsageError(
            f"the report can't be fetched ({code})", where=address, fix="use credentials that may list and read it"
        ) from None
    return folder


def _snake(name: str) -> str:
    """``lineItem/UsageStartDate`` and ``ChargePeriodStart`` as the newer reports write them."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _read(files: list[str], kind: str, source: str) -> list[tuple[Any, ...]]:
    """(day, service, resource, project, environment, model, USD), added up."""
    import duckdb

    reading = (
        "read_parquet($files, union_by_name = true)"
        if kind == "parquet"
        else "read_csv($files, all_varchar = true, header = true, union_by_name = true, nullstr = ['', 'NULL'])"
    )
    with duckdb.connect() as database:
        try:
            described = database.execute(f"DESCRIBE SELECT * FROM {reading}", {"files": files}).fetchall()  # noqa: S608
            columns = {_snake(name): (name, str(type_)) for name, type_, *_ in described}
            query = _query(columns, reading, source)
            rows = database.execute(query, {"files": files}).fetchall()
        except duckdb.Error as error:
            raise UsageError(
                f"is not readable as {kind.upper()}: {str(error).splitlines()[0]}",
                where=source,
                fix="export the report again",
            ) from None
    currencies = {row[-1] for row in rows} - {"", "USD", None}
    if currencies:
        raise UsageError(
            f"bills in {', '.join(sorted(currencies))}; budgets and prices here are in USD",
            where=source,
            fix="export the report in USD",
        )
    return [row[:-1] for row in rows]


def _query(columns: dict[str, tuple[str, str]], reading: str, source: str) -> str:
    def first(names: tuple[str, ...], what: str = "") -> str:
        known = next((columns[name][0] for name in names if name in columns), None)
        if known is None and what:
            raise UsageError(
                f"has no column of {what}",
                where=source,
                fix=f"expected one of: {', '.join(names)}; found {', '.join(sorted(columns)[:8])}",
            )
        return _quoted(known) if known else "''"

    def tag(name: str) -> str:
        for own in (f"resource_tags_user_{_snake(name)}", f"tags_{_snake(name)}", f"resource_tags_{_snake(name)}"):
            if own in columns:
                return f"coalesce({_quoted(columns[own][0])}, '')"
        held = next((columns[each] for each in _TAG_COLUMNS if each in columns), None)
        keys = (f"user_{_snake(name)}", f"user:{name}", name, f"user_{name}", _snake(name))
        return f"coalesce({', '.join([*_looked_up(*held, keys), repr('')])})" if held else "''"

    start, cost, service = first(_STARTS, "days"), first(_COSTS, "costs"), first(_SERVICES)
    if "product" in columns:
        service = f"coalesce({', '.join([*_looked_up(*columns['product'], ('product_name',)), service])})"
    return (
        f"SELECT CAST(CAST({start} AS TIMESTAMP) AS DATE), coalesce({service}, ''), coalesce({first(_RESOURCES)}, ''),"  # noqa: S608
        f" {tag('Project')}, {tag('Environment')}, {tag('Model')}, sum(CAST({cost} AS DOUBLE)), {first(_CURRENCIES)}"
        f" FROM {reading} WHERE {cost} IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _looked_up(column: str, type_: str, keys: tuple[str, ...]) -> list[str]:
    """What a column of several values has under each key: a map, a structure, or JSON."""
    name = _quoted(column)
    if type_.startswith("MAP"):
        return [f"{name}['{key}']" for key in keys]
    if type_.startswith("STRUCT"):
        known = set(re.findall(r'[(,] ?"?([^\s",()]+)"? ', type_))
        return [f"struct_extract({name}, '{key}')" for key in keys if key in known]
    return [f"json_extract_string(CASE WHEN json_valid({name}) THEN {name} END, '$.\"{key}\"')" for key in keys]
