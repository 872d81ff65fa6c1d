"""Step: the quality gate. Great Expectations checks each table against its contract; only good ones become dataset versions.

What ingestion has held every event to (types, form of texts) is not checked again row by row; the gate looks at the table as a whole:
columns and their types, keys, bounds, and what the contract's owner has written by hand (``quality``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.contracts import Contract, Property, moment
from infra.errors import GroundplanError
from pipelines.context import Context, main
from pipelines.raw_zone import POSITION, RawZone, parquet

if TYPE_CHECKING:
    import pyarrow as pa

FORGOTTEN = "forgotten/"  # tokens that no dataset may hold any more, below this prefix of the curated zone


def check_quality(context: Context) -> dict[str, Any]:
    """Gate every table and version it in the curated zone by its digest (SHA-256 of the Parquet file).

    Raises:
        GroundplanError: A table is not its contract's, or an expectation failed; no version is written, operations are told, and the
            message says which expectation and how often.
    """
    forgotten = forgotten_tokens(context)
    passed = []
    for contract in context.example.contracts:
        raw = RawZone(context, contract).read()
        if drift := schema_drift(raw.drop_columns(list(POSITION)).schema, contract):
            _refuse(context, contract, f"schema drift: the raw zone's columns are not the contract's: {'; '.join(drift)}", None)
        table, counts = prepare(raw, contract, forgotten)
        results, page = validate(as_pandas(table, strings_to_categorical=True), contract, context.reports)
        if failed := [item for item in results if not item["success"]]:
            lines = "; ".join(
                f"{item['column'] or 'table'}: {item['expectation']} ({item['unexpected']} of {table.num_rows} rows, for example {item['sample']})"
                for item in failed
            )
            what = f"value drift: the batch of {table.num_rows} rows fails {len(failed)} of {len(results)} expectations: {lines}"
            _refuse(context, contract, what, page)
        passed.append((contract, table, counts, len(results), page))
    datasets: dict[str, Any] = {}
    for contract, table, counts, expectations, page in passed:
        body = parquet(table)
        digest = hashlib.sha256(body).hexdigest()
        address = context.put("curated", f"{contract.topic}/version={digest[:16]}/data.parquet", body)
        datasets[contract.view] = {
            "dataset": address, "digest": digest, "rows": table.num_rows, **counts, "expectations": expectations, "report": str(page),
            "contract": f"{contract.id} {contract.version}",
        }  # fmt: skip
    found = list(datasets.values())
    whole = found[0]["digest"] if len(found) == 1 else hashlib.sha256("".join(item["digest"] for item in found).encode()).hexdigest()
    return {
        "datasets": datasets,
        "dataset": found[0]["dataset"] if len(found) == 1 else ", ".join(item["dataset"] for item in found),
        "digest": whole,
        **{name: sum(item[name] for item in found) for name in ("rows", "duplicates", "expectations")},
    }


def as_pandas(table: pa.Table, **more: Any) -> Any:
    """A pandas frame in which whole numbers stay whole, also beside missing values: as floats they would be others beyond 2**53."""
    import pandas as pd
    import pyarrow as pa

    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get, **more)


def _refuse(context: Context, contract: Contract, what: str, page: Path | None) -> None:
    """Tell operations, and stop."""
    import boto3

    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[{"MetricName": "refused_batches", "Dimensions": [{"Name": "Topic", "Value": contract.topic}], "Value": 1, "Unit": "Count"}],
    )
    if topic := context.outputs.alert_topics.get("operations"):
        boto3.client("sns").publish(
            TopicArn=topic, Subject=f"Quality gate: {contract.topic} refused"[:100], Message=f"{what}\nPage: {page or 'none'}"[:100_000]
        )
    raise GroundplanError(what, where=f"contract {contract.id}", fix=f"see {page}; nothing went on to the curated zone" if page else "")


def schema_drift(found: pa.Schema, contract: Contract) -> list[str]:
    """How the columns of raw files differ from the contract: missing, unknown, or of another type."""
    from pipelines.decode import arrow_schema

    wanted = arrow_schema(contract)
    drift = [f"{name} is missing" for name in wanted.names if name not in found.names]
    drift += [f"{name} is not in the contract" for name in found.names if name not in wanted.names]
    shared = [name for name in wanted.names if name in found.names]
    return drift + [
        f"{name} is {found.field(name).type}, not {wanted.field(name).type}" for name in shared if found.field(name).type != wanted.field(name).type
    ]


def prepare(raw: pa.Table, contract: Contract, forgotten: frozenset[str]) -> tuple[pa.Table, dict[str, int]]:
    """The dataset's rows: of each key the newest, without those that were to be forgotten, in the order of their keys.

    The newest has the highest value of the contract's version field, else of its event time; among equal ones it was sent last. That is
    the same whenever and in how many runs the events were taken in.

    Args:
        raw: Rows with their ``POSITION``.

    Returns:
        The table, and how many rows were ``duplicates`` and ``forgotten``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = raw
    for item in contract.properties:
        if item.personal and forgotten:
            kept = kept.filter(pc.invert(pc.fill_null(pc.is_in(kept[item.name], pa.array(sorted(forgotten))), fill_value=False)))
    dropped = raw.num_rows - kept.num_rows
    newest = [name for name in (contract.version_field or contract.event_time,) if name]
    position = [name for name in POSITION if name in kept.column_names]
    for name in position:  # files of before it was kept have none
        kept = kept.set_column(kept.column_names.index(name), name, pc.fill_null(kept[name], -1))
    order = pc.sort_indices(kept, [(name, "ascending") for name in (contract.key, *newest, *position)])
    table = kept.take(order).drop_columns(position).combine_chunks()
    if table.num_rows > 1:
        keys = table[contract.key].combine_chunks()
        differ = pc.fill_null(pc.not_equal(keys.slice(0, len(keys) - 1), keys.slice(1)), fill_value=True)
        table = table.filter(pa.concat_arrays([differ, pa.array([True])]))
    return table, {"duplicates": kept.num_rows - table.num_rows, "forgotten": dropped}


def forgotten_tokens(context: Context) -> frozenset[str]:
    """Tokens of the people who asked to be forgotten."""
    return frozenset(key.removeprefix(FORGOTTEN).removesuffix(".json") for key in context.keys("curated", FORGOTTEN))


def expectations(contract: Contract) -> Sequence[Any]:
    """The suite of a contract: what follows from its fields, then what is written in it by hand.

    Raises:
        GroundplanError: It names an expectation that Great Expectations does not have.
    """
    import great_expectations.expectations as gxe

    made: list[Any] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectTableColumnsToMatchSet(column_set=[p.name for p in contract.properties], exact_match=True),
    ]
    by_hand = list(contract.table[0].quality)
    for item in contract.properties:
        if item.required:
            made.append(gxe.ExpectColumnValuesToNotBeNull(column=item.name))
        if item.primaryKey:
            made.append(gxe.ExpectColumnValuesToBeUnique(column=item.name))
        bounds = item.logicalTypeOptions
        if (bounds.minimum is not None or bounds.maximum is not None) and not _beyond_floats(item):
            least, most = bounds.minimum, bounds.maximum
            if item.logicalType == "timestamp":
                least, most = (None if limit is None else moment(limit) for limit in (least, most))  # type: ignore[assignment]
            made.append(gxe.ExpectColumnValuesToBeBetween(column=item.name, min_value=least, max_value=most))
        by_hand += item.quality
    where = f"contract {contract.id}: quality"
    for written in by_hand:
        kind = str(written.implementation.get("expectation_type", ""))
        known = getattr(gxe, "".join(part.title() for part in kind.split("_")), None)
        if known is None:
            raise GroundplanError(f"Great Expectations has no {kind!r}", where=where, fix="https://greatexpectations.io/expectations lists them")
        if odd := sorted(set(written.implementation) - {"expectation_type", "kwargs", "meta"}):
            raise GroundplanError(f"an expectation has no {', '.join(odd)}", where=where, fix="give expectation_type and kwargs")
        try:
            made.append(known(**written.implementation.get("kwargs", {})))
        except (TypeError, ValueError) as error:
            raise GroundplanError(f"{kind} does not take these kwargs: {' '.join(str(error).split())[:300]}", where=where) from None
        column = written.implementation.get("kwargs", {}).get("column")
        if column is not None and column not in {p.name for p in contract.properties}:
            raise GroundplanError(f"{kind} is about the column {column!r}, which the contract does not have", where=where)
    return made


def validate(frame: Any, contract: Contract, reports: Path) -> tuple[list[dict[str, Any]], Path]:
    """Check a pandas DataFrame against its contract, column by column.

    Returns:
        One entry per expectation (column, expectation, success, count and sample of unexpected values), and a page of Great Expectations'
        Data Docs for people.
    """
    import great_expectations as gx

    gx_context = gx.get_context(mode="ephemeral")
    gx_context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(name=contract.id, expectations=list(expectations(contract)))
    source = gx_context.data_sources.add_pandas("lake").add_dataframe_asset(contract.topic)
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    outcome = batch.validate(suite)
    page = reports / f"{contract.topic}-quality.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(outcome), encoding="utf-8")
    return [
        {
            "column": result.expectation_config.kwargs.get("column") or result.expectation_config.kwargs.get("column_A"),
            "expectation": result.expectation_config.type,
            "success": bool(result.success),
            "unexpected": result.result.get("unexpected_count", 0),
            "sample": result.result.get("partial_unexpected_list", [])[:3] or result.result.get("observed_value") or _raised(result),
        }
        for result in outcome.results
    ] + [_held_exactly(frame[item.name], item) for item in contract.properties if _beyond_floats(item) and item.name in frame], page


def _beyond_floats(item: Property) -> bool:
    """Whether its bounds are whole numbers that Great Expectations, which compares them as floats, would take for others."""
    return item.logicalType == "integer" and any(
        isinstance(limit, int) and abs(limit) > 2**53 for limit in (item.logicalTypeOptions.minimum, item.logicalTypeOptions.maximum)
    )


def _held_exactly(values: Any, item: Property) -> dict[str, Any]:
    bounds, whole = item.logicalTypeOptions, values.dropna()
    outside = whole[
        [not ((bounds.minimum is None or bounds.minimum <= value) and (bounds.maximum is None or value <= bounds.maximum)) for value in whole.tolist()]
    ]
    return {
        "column": item.name, "expectation": "expect_column_values_to_be_between", "success": outside.empty, "unexpected": len(outside),
        "sample": outside.tolist()[:3],
    }  # fmt: skip


def _raised(result: Any) -> str:
    """What an expectation raised, where it could not be checked at all."""
    said = (result.exception_info or {}).get("exception_message") or [
        item.get("exception_message") for item in (result.exception_info or {}).values() if isinstance(item, dict)
    ]
    return str(said or "")[:300]


def _page(outcome: Any) -> str:
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    for result in outcome.results:  # the page can't write NumPy's numbers
        if hasattr(observed := result.result.get("observed_value"), "item"):
            result.result["observed_value"] = observed.item()
    return str(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(outcome)))


if __name__ == "__main__":
    main("quality", check_quality)
