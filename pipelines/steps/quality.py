"""Step: the quality gate. Great Expectations checks each table against its contract; only good ones become dataset
versions.

What ingestion has validated for every event (types, patterns of texts) is not checked again row by row; the gate checks
the table as a whole: columns and their types, keys, bounds, and what the contract's owner has written manually
(``quality``): expectations, the standard's metrics, and queries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.context import Context, main
from pipelines.data.glue import DATASET, Column, keep_in_step
from pipelines.data.measured import measured
from pipelines.data.raw_zone import POSITION, RawZone, parquet, positions_of
from spec.contracts import Contract, Field, Rule
from spec.contracts.tables import glue_type
from spec.errors import GroundplanError

if TYPE_CHECKING:
    import pyarrow as pa

FORGOTTEN = "forgotten/"  # tokens that datasets must no longer contain, below this prefix of the curated zone


def check_quality(context: Context) -> dict[str, Any]:
    """Gate every table and version it in the curated zone by its digest (SHA-256 of the Parquet file).

    Raises:
        GroundplanError: A table does not match its contract, or an expectation failed; no version is written,
            operations are notified, and the message says which expectation failed and how often.
    """
    forgotten = forgotten_tokens(context)
    contracts = context.definition.contracts
    prepared: dict[str, tuple[pa.Table, dict[str, int]]] = {}
    positions: dict[str, list[dict[str, int]]] = {}
    for contract in contracts:
        raw = RawZone(context, contract).read()
        if drift := schema_drift(raw.drop_columns(list(POSITION)).schema, contract):
            _refuse(
                context,
                contract,
                f"schema drift: the raw zone's columns don't match the contract: {'; '.join(drift)}",
                None,
            )
        positions[contract.view] = positions_of(raw)
        prepared[contract.view] = prepare(raw, contract, forgotten, RawZone(context, contract).deletions())
    tables = {name: table for name, (table, _) in prepared.items()}
    passed = []
    for contract in contracts:
        table, counts = prepared[contract.view]
        results, page = validate(
            table, contract, context.reports, {other.view: (other, tables[other.view]) for other in contracts}
        )
        failed = [item for item in results if not item["success"]]
        if stopping := [item for item in failed if item.get("stops", True)]:
            lines = "; ".join(_failure(item, table.num_rows) for item in stopping)
            what = (
                f"value drift: the batch of {table.num_rows} rows fails {len(stopping)} of {len(results)} expectations:"
                f" {lines}"
            )
            _refuse(context, contract, what, page)
        for item in failed:
            print(f"warning: contract {contract.id}: {_failure(item, table.num_rows)}")
        passed.append((contract, table, counts, results, page))
    datasets: dict[str, Any] = {}
    for contract, table, counts, results, page in passed:
        body = parquet(table)
        digest = hashlib.sha256(body).hexdigest()
        address = context.put("curated", f"{contract.topic}/version={digest[:16]}/data.parquet", body)
        hold = sum(bool(item["success"]) for item in results)
        catalogued = keep_in_step(
            context,
            f"{DATASET}{contract.view}",
            address,
            [Column(item.name, glue_type(item), item.description) for item in contract.fields],
            says=contract.name,
            owner=contract.owner,
            about={
                "contract": contract.label,
                "version": digest,
                "rows": table.num_rows,
                "expectations": f"{hold} of {len(results)} hold",
                "run": context.run,
            },
        )
        datasets[contract.view] = {
            "dataset": address,
            "table": catalogued,
            "digest": digest,
            "rows": table.num_rows,
            **counts,
            "expectations": len(results),
            "checks": [{name: item[name] for name in ("column", "expectation", "success")} for item in results],
            "positions": positions[contract.view],
            "report": str(page),
            "warnings": [_failure(item, table.num_rows) for item in results if not item["success"]],
            "contract": contract.label,
        }
    found = list(datasets.values())
    whole = (
        found[0]["digest"]
        if len(found) == 1
        else hashlib.sha256("".join(item["digest"] for item in found).encode()).hexdigest()
    )
    return {
        "datasets": datasets,
        "dataset": found[0]["dataset"] if len(found) == 1 else ", ".join(item["dataset"] for item in found),
        "digest": whole,
        **{name: sum(item[name] for item in found) for name in ("rows", "duplicates", "deleted", "expectations")},
    }


def _failure(item: Mapping[str, Any], rows: int) -> str:
    sample = item["sample"]
    said = "" if sample is None or (hasattr(sample, "__len__") and len(sample) == 0) else f", for example {sample}"
    return f"{item['column'] or 'table'}: {item['expectation']} ({item['unexpected']} of {rows} rows{said})"


def as_pandas(table: pa.Table, **more: Any) -> Any:
    """A pandas frame in which whole numbers stay whole, also next to missing values: as floats they would change beyond
    2**53.
    """
    import pandas as pd
    import pyarrow as pa

    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get, **more)


def _refuse(context: Context, contract: Contract, what: str, page: Path | None) -> None:
    """Notify operations, and stop."""
    import boto3

    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[
            {
                "MetricName": "refused_batches",
                "Dimensions": [{"Name": "Topic", "Value": contract.topic}],
                "Value": 1,
                "Unit": "Count",
            }
        ],
    )
    if topic := context.outputs.alert_topics.get("operations"):
        boto3.client("sns").publish(
            TopicArn=topic,
            Subject=f"Quality gate: {contract.topic} rejected"[:100],
            Message=f"{what}\nPage: {page or 'none'}"[:100_000],
        )
    raise GroundplanError(
        what,
        where=f"contract {contract.id}",
        fix=f"see {page}; nothing was written to the curated zone" if page else "",
    )


def schema_drift(found: pa.Schema, contract: Contract) -> list[str]:
    """How the columns of raw files differ from the contract: missing, unknown, or of another type."""
    from pipelines.data.decode import arrow_schema

    wanted = arrow_schema(contract)
    drift = [f"{name} is missing" for name in wanted.names if name not in found.names]
    drift += [f"{name} is not in the contract" for name in found.names if name not in wanted.names]
    shared = [name for name in wanted.names if name in found.names]
    return drift + [
        f"{name} is {found.field(name).type}, not {wanted.field(name).type}"
        for name in shared
        if found.field(name).type != wanted.field(name).type
    ]


def prepare(
    raw: pa.Table, contract: Contract, forgotten: frozenset[str], deletions: pa.Table | None = None
) -> tuple[pa.Table, dict[str, int]]:
    """The dataset's rows: the newest of each key, without forgotten ones, in the order of their keys.

    Without a key every event is a separate row.

    The newest has the highest value of the contract's version field, else of its event time; among equal ones the one
    sent last. The result does not depend on when and in how many runs the events were ingested.

    Args:
        raw: Rows with their ``POSITION``.
        deletions: Keys that were deleted, with theirs: their earlier events are left out.

    Returns:
        The table, and how many rows were ``duplicates``, ``forgotten`` and ``deleted``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.data.person import holds

    kept = raw
    for item in contract.fields if forgotten else ():
        if any(leaf.personal for _, leaf in item.leaves()):
            kept = kept.filter(pc.invert(holds(kept[item.name].combine_chunks(), forgotten)))
    dropped = raw.num_rows - kept.num_rows
    if deletions is not None and deletions.num_rows:
        kept = kept.filter(pa.array(_outlived(kept, deletions, contract.keys), pa.bool_()))
    deleted = raw.num_rows - dropped - kept.num_rows
    newest = [name for name in (contract.version_field or contract.event_time,) if name]
    position = [name for name in POSITION if name in kept.column_names]
    for name in position:  # files from before it was stored have none
        kept = kept.set_column(kept.column_names.index(name), name, pc.fill_null(kept[name], -1))
    order = pc.sort_indices(kept, [(name, "ascending") for name in (*contract.keys, *newest, *position)])
    table = kept.take(order).drop_columns(position).combine_chunks()
    if contract.keys and table.num_rows > 1:
        differ = pa.array([False] * (table.num_rows - 1))
        for name in contract.keys:
            keys = table[name].combine_chunks()
            differ = pc.or_(
                differ, pc.fill_null(pc.not_equal(keys.slice(0, len(keys) - 1), keys.slice(1)), fill_value=True)
            )
        table = table.filter(pa.concat_arrays([differ, pa.array([True])]))
    return table, {"duplicates": kept.num_rows - table.num_rows, "forgotten": dropped, "deleted": deleted}


def _outlived(rows: pa.Table, deletions: pa.Table, keys: tuple[str, ...]) -> list[bool]:
    """Which rows were sent after every deletion of their key."""

    def places(table: pa.Table) -> Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]:
        columns = [table[name].to_pylist() for name in (*keys, *POSITION)]
        for row in zip(*columns, strict=True):
            yield row[: len(keys)], tuple(-1 if part is None else part for part in row[len(keys) :])

    last: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for key, place in places(deletions):
        last[key] = max(place, last.get(key, place))
    return [place > last.get(key, (-2,)) for key, place in places(rows)]


def forgotten_tokens(context: Context) -> frozenset[str]:
    """Tokens of the people who asked to be forgotten."""
    return frozenset(key.removeprefix(FORGOTTEN).removesuffix(".json") for key in context.keys("curated", FORGOTTEN))


def expectations(contract: Contract) -> Sequence[Any]:
    """The suite of a contract: what follows from its fields, then the expectations that its owner has written.

    Raises:
        GroundplanError: An expectation does not exist in Great Expectations, or does not accept its arguments.
    """
    import great_expectations.expectations as gxe

    made: list[Any] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectTableColumnsToMatchSet(column_set=[item.name for item in contract.fields], exact_match=True),
    ]
    if len(contract.keys) > 1:
        made.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(contract.keys)))
    for item in contract.fields:
        if item.required:
            made.append(gxe.ExpectColumnValuesToNotBeNull(column=item.name))
        if contract.keys == (item.name,) or (item.unique and not item.parts):
            made.append(gxe.ExpectColumnValuesToBeUnique(column=item.name))
        limits = item.limits
        if _bounded(item) and not _beyond_floats(item):
            made.append(
                gxe.ExpectColumnValuesToBeBetween(
                    column=item.name,
                    min_value=_comparable(limits.least),
                    max_value=_comparable(limits.most),
                    strict_min=limits.least_open and limits.least is not None,
                    strict_max=limits.most_open and limits.most is not None,
                )
            )
    return [
        *made,
        *(_by_hand(rule, contract, place) for place, rule in enumerate(contract.rules) if rule.kind == "expectation"),
    ]


def _bounded(item: Field) -> bool:
    """Whether its column has bounds: a token has none."""
    limits = item.limits
    return (
        item.kind in ("integer", "number", "decimal", "timestamp", "date")
        and not item.personal
        and (limits.least is not None or limits.most is not None)
    )


def _comparable(limit: Any) -> Any:
    """A bound as pandas compares it."""
    from datetime import date, datetime
    from decimal import Decimal

    if isinstance(limit, Decimal):
        return float(limit)
    if isinstance(limit, date) and not isinstance(limit, datetime):
        return datetime(limit.year, limit.month, limit.day)  # noqa: DTZ001 (a date)
    return limit


def _by_hand(rule: Rule, contract: Contract, place: int) -> Any:
    """An expectation from the contract, marked with its place there."""
    import great_expectations.expectations as gxe

    known = getattr(gxe, "".join(part.title() for part in rule.expectation.split("_")), None)
    if known is None:
        raise GroundplanError(
            f"Great Expectations has no {rule.expectation!r}",
            where=f"contract {contract.id}: quality",
            fix="https://greatexpectations.io/expectations lists them",
        )
    kwargs = json.loads(rule.arguments)
    for name in ("column", "column_A", "column_B"):
        if name in kwargs and (item := contract.field(kwargs[name])):
            kwargs[name] = item.name
    if isinstance(listed := kwargs.get("column_list"), list):
        kwargs["column_list"] = [item.name if (item := contract.field(str(name))) else name for name in listed]
    try:
        return known(**kwargs, meta={"rule": place})
    except (TypeError, ValueError):
        raise GroundplanError(
            f"{rule.expectation} does not take these kwargs: {', '.join(kwargs) or 'none'}",
            where=f"contract {contract.id}: quality",
            fix="https://greatexpectations.io/expectations lists what it accepts",
        ) from None


def validate(
    table: pa.Table, contract: Contract, reports: Path, tables: Mapping[str, tuple[Contract, pa.Table]] | None = None
) -> tuple[list[dict[str, Any]], Path]:
    """Check a table against its contract.

    Args:
        tables: All tables that queries may be about, by view.

    Returns:
        One entry per expectation (column, expectation, success, count and sample of unexpected values, whether a
        failure stops), and a page of Great Expectations' Data Docs.
    """
    import great_expectations as gx

    gx_context = gx.get_context(mode="ephemeral")
    gx_context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    made = list(expectations(contract))
    suite = gx.ExpectationSuite(name=contract.id, expectations=made)
    source = gx_context.data_sources.add_pandas("lake").add_dataframe_asset(contract.topic)
    frame = _frame(table)
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    outcome = batch.validate(suite)
    results = [
        {
            "column": (
                result.expectation_config.kwargs.get("column") or result.expectation_config.kwargs.get("column_A")
            ),
            "expectation": result.expectation_config.type,
            "success": bool(result.success),
            "unexpected": result.result.get("unexpected_count", 0),
            "sample": (
                result.result.get("partial_unexpected_list", [])[:3]
                or result.result.get("observed_value")
                or _raised(result)
            ),
            "stops": (
                (place := (result.expectation_config.meta or {}).get("rule")) is None or contract.rules[place].stops
            ),
        }
        for result in outcome.results
    ] + [_held_exactly(frame[item.name], item) for item in contract.fields if _bounded(item) and _beyond_floats(item)]
    results += [dict(item) for item in measured(contract, tables or {contract.view: (contract, table)})]
    page = reports / f"{contract.topic}-quality.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(outcome, [item for item in results if "rule" in item]), encoding="utf-8")
    return results, page


def _frame(table: pa.Table) -> Any:
    """The table as Great Expectations compares it: exact decimals as floats, dates as times, whole numbers as NumPy's
    where that changes none of them.

    It checks pandas' own nullable integers one by one in Python, which takes ten times as long.
    """
    import pandas as pd
    import pyarrow as pa

    wide = set[str]()
    for index, field in enumerate(table.schema):
        column = table[field.name]
        if pa.types.is_decimal(field.type) or (
            pa.types.is_integer(field.type) and column.null_count and not _wide(column)
        ):
            table = table.set_column(index, field.name, column.cast(pa.float64()))
        elif pa.types.is_integer(field.type) and column.null_count:
            wide.add(field.name)
    frame = table.drop_columns(sorted(wide)).to_pandas(strings_to_categorical=True, date_as_object=False)
    for name in sorted(wide, key=table.column_names.index):
        frame.insert(
            table.column_names.index(name), name, table[name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        )
    return frame


def _wide(column: pa.ChunkedArray) -> bool:
    """Whether floats would change its whole numbers."""
    import pyarrow.compute as pc

    ends = pc.min_max(column).as_py()
    return ends["min"] is not None and max(-ends["min"], ends["max"]) > 2**53


def _beyond_floats(item: Field) -> bool:
    """Whether its bounds are whole numbers that Great Expectations, which compares them as floats, would confuse with
    others.
    """
    return item.kind == "integer" and any(
        isinstance(limit, int) and abs(limit) > 2**53 for limit in (item.limits.least, item.limits.most)
    )


def _held_exactly(values: Any, item: Field) -> dict[str, Any]:
    limits, whole = item.limits, values.dropna()

    def inside(value: Any) -> bool:
        low: Any = limits.least
        high: Any = limits.most
        above = low is None or (value > low if limits.least_open else value >= low)
        return above and (high is None or (value < high if limits.most_open else value <= high))

    outside = whole[[not inside(value) for value in whole.tolist()]]
    return {
        "column": item.name,
        "expectation": "expect_column_values_to_be_between",
        "success": outside.empty,
        "unexpected": len(outside),
        "sample": outside.tolist()[:3],
    }


def _raised(result: Any) -> str:
    """The error of an expectation that could not be checked at all."""
    said = (result.exception_info or {}).get("exception_message") or [
        item.get("exception_message") for item in (result.exception_info or {}).values() if isinstance(item, dict)
    ]
    return str(said or "")[:300]


def _said(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["expectation"], item["rule"]


def _page(outcome: Any, rules: Sequence[Mapping[str, Any]]) -> str:
    from html import escape

    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    for result in outcome.results:  # the page can't render NumPy's numbers
        if hasattr(observed := result.result.get("observed_value"), "item"):
            result.result["observed_value"] = observed.item()
    page = str(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(outcome)))
    if not rules:
        return page
    head = "<tr><th>holds</th><th>about</th><th>found</th><th>rule</th><th>meaning</th></tr>"
    cells = (
        (
            "yes" if item["success"] else "no",
            item["column"] or "table",
            item["sample"] or item["unexpected"],
            *_said(item),
        )
        for item in rules
    )
    rows = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in cells)
    section = (
        '<section class="container"><h3>Metrics and queries of the contract</h3><table class="table'
        f' table-sm">{head}{rows}</table></section>'
    )
    return page.replace("</body>", f"{section}</body>", 1)


if __name__ == "__main__":
    main("quality", check_quality)
