"""Step: the quality gate. Great Expectations checks the batch against its contract; only a good one becomes a dataset version."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from infra.contracts import Contract
from infra.errors import GroundplanError
from pipelines.context import Context, main


def check_quality(context: Context) -> dict[str, Any]:
    """Gate the batch and version it in the curated zone by its digest (SHA-256 of the Parquet file).

    Raises:
        GroundplanError: An expectation failed; nothing is written, and the message says which and how often.
    """
    import pandas as pd

    contract = context.example.contract
    assert contract is not None
    body = context.get_address(context.result("ingest")["raw"])
    frame = pd.read_parquet(io.BytesIO(body))
    results = validate(frame, contract)
    failed = [item for item in results if not item["success"]]
    if failed:
        lines = "; ".join(
            f"{item['column'] or 'table'}: {item['expectation']} ({item['unexpected']} of {len(frame)} rows, for example {item['sample']})" for item in failed
        )
        raise GroundplanError(f"the batch of {len(frame)} rows fails {len(failed)} of {len(results)} expectations: {lines}", where=f"contract {contract.id}")
    digest = hashlib.sha256(body).hexdigest()
    address = context.put("curated", f"{contract.topic}/version={digest[:16]}/data.parquet", body)
    return {"dataset": address, "digest": digest, "rows": len(frame), "expectations": len(results)}


def validate(frame: Any, contract: Contract) -> list[dict[str, Any]]:
    """Check a pandas DataFrame against what its contract promises, column by column.

    Returns:
        One entry per expectation: column, expectation, success, count and sample of unexpected values.
    """
    import great_expectations as gx
    import great_expectations.expectations as gxe

    expectations: list[Any] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectTableColumnsToMatchSet(column_set=[p.name for p in contract.properties], exact_match=True),
    ]
    for item in contract.properties:
        if item.required:
            expectations.append(gxe.ExpectColumnValuesToNotBeNull(column=item.name))
        if item.primaryKey:
            expectations.append(gxe.ExpectColumnValuesToBeUnique(column=item.name))
        bounds = item.logicalTypeOptions
        if bounds.minimum is not None or bounds.maximum is not None:
            expectations.append(gxe.ExpectColumnValuesToBeBetween(column=item.name, min_value=bounds.minimum, max_value=bounds.maximum))
    gx_context = gx.get_context(mode="ephemeral")
    gx_context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(name=contract.id, expectations=expectations)
    batch = (
        gx_context.data_sources.add_pandas("lake").add_dataframe_asset("batch").add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    )
    outcome = batch.validate(suite)
    return [
        {
            "column": result.expectation_config.kwargs.get("column"),
            "expectation": result.expectation_config.type,
            "success": bool(result.success),
            "unexpected": result.result.get("unexpected_count", 0),
            "sample": result.result.get("partial_unexpected_list", [])[:3] or result.result.get("observed_value"),
        }
        for result in outcome.results
    ]


if __name__ == "__main__":
    main("quality", check_quality)
