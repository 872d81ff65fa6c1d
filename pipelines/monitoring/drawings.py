"""Evidently's page of the columns: every distribution beside the training rows'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.monitoring.drift import ColumnDrift
from pipelines.privacy.personal_data import kinds

MOST_DRAWN = 5_000  # rows of each side; a curve of more looks the same
MOST_COLUMNS = 10
MOST_TEXTS = 10_000  # of a column, looked at for personal data


def draw(reference: Any, current: Any, found: list[ColumnDrift], page: Path) -> Path:
    """Draw frames of n and m rows, with the verdicts that were found: the most different columns; one that is
    completely missing on one side, or has personal data, is not drawn.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.metrics import ValueDrift

    from pipelines.monitoring.drift import LARGE_ENOUGH

    reference, current = (
        frame.sample(MOST_DRAWN, random_state=0) if len(frame) > MOST_DRAWN else frame for frame in (reference, current)
    )
    verdicts = {
        item.column: item
        for item in found
        if reference[item.column].notna().any()
        and current[item.column].notna().any()
        and not _personal(reference[item.column], current[item.column])
    }
    page.parent.mkdir(parents=True, exist_ok=True)
    if not verdicts:
        page.write_text("<p>Nothing to compare: every column is missing on one side.</p>", encoding="utf-8")
        return page
    methods = {method: f"groundplan_{place}" for place, method in enumerate({item.method for item in found})}
    for method, name in methods.items():
        test = StatTest(name, method or "not compared", [ColumnType.Numerical, ColumnType.Categorical], LARGE_ENOUGH)
        register_stattest(
            test, lambda _reference, now, _type, _threshold: (verdicts[now.name].effect, verdicts[now.name].drifted)
        )
    numbers = [name for name in verdicts if reference[name].dtype.kind in "iuf"]
    others = [name for name in verdicts if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=others)
    types = dict.fromkeys(numbers, float) | dict.fromkeys(others, str)
    sides = [
        Dataset.from_pandas(frame[list(verdicts)].reset_index(drop=True).astype(types), data_definition=definition)
        for frame in (current, reference)
    ]
    # The most different first. Evidently's preset draws each column twice.
    drawn = sorted(verdicts.values(), key=lambda item: (not item.drifted, -item.effect))[:MOST_COLUMNS]
    metrics = [ValueDrift(column=item.column, method=methods[item.method]) for item in drawn]
    Report(metrics).run(*sides).save_html(str(page))
    return page


def _personal(*columns: Any) -> bool:
    """Whether texts of a column are personal data, which no page shows: people may send it in any field."""
    texts = [column.dropna().unique()[:MOST_TEXTS] for column in columns if column.dtype.kind not in "iufb"]
    return any(kinds(str(value)) for values in texts for value in values)
