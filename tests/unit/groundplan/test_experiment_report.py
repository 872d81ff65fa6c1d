"""The comment on a change of a model."""

from __future__ import annotations

from typing import Any

import pytest

from groundplan.local.experiment_report import markdown
from infra.design.price_book import load_prices

EVALUATED: dict[str, Any] = {
    "passed": {"quality": True, "kpi": True},
    "because": "",
    "metrics": {"mae": 44.0, "rmse": 54.0},
    "baseline": {"mae": 64.0, "rmse": 73.0},
    "baseline_is": "the mean of the labels",
    "rows": 89,
    "how": "rows the model has not seen",
    "kpi": {
        "name": "mae",
        "unit": "points",
        "lift": 20.0,
        "interval": [11.0, 28.0],
        "monthly_usd": 160_000.0,
        "monthly_usd_interval": [88_000.0, 224_000.0],
    },
    "against": ["only 89 rows were available to judge it on"],
    "slices": [
        {"column": "sex", "value": "a", "rows": 40, "metrics": {"mae": 41.0}},
        {"column": "sex", "value": "b", "rows": 49, "metrics": {"mae": 46.5}},
    ],
    "groups": [
        {
            "column": "sex",
            "value": value,
            "rows": 40,
            "pre_training": {"DPL": 0.05},
            "post_training": {"DPPL": difference, "DI": 0.8},
        }
        for value, difference in (("a", 0.1), ("b|c", -0.3))
    ]
    + [{"column": "age", "value": "young", "rows": 7, "note": "fewer than 30 rows"}],
    "calibration": {"of": "the prediction", "error": 3.2, "bins": [{"rows": 89, "said": 150.0, "seen": 153.2}]},
    "champion": {
        "version": "v1.2.0",
        "metrics": {"mae": 47.0, "rmse": 54.0},
        "ours": {"mae": 45.0, "rmse": 55.0},
        "rows": 60,
        "how": "rows the model has not seen, without the 29 of 89 that v1.2.0 was trained on",
    },
}
EXPERIMENT = {
    "duration_s": 7200.0,
    "code_version": "0123456789abcdef",
    "dataset_digest": "fedcba9876543210",
    "run_id": "m1",
}


def report(**changes: Any) -> str:
    found = {"model": "m", "run": "r", "experiment": EXPERIMENT, "evaluate": {**EVALUATED, **changes}}
    return markdown(found, load_prices())


def test_it_answers_what_a_reviewer_asks() -> None:
    text = report()
    assert text.startswith(
        "## m: 20 points better than the naive baseline (95 % interval 11 to 28), worth 160,000 USD a month"
        " (88,000 to 224,000)\n"
    )
    assert "| **mae** (KPI) | 44 | 64 | 47 | 45 better |" in text and "| rmse | 54 | 73 | 54 | 55 |" in text
    assert "without the 29 of 89 that v1.2.0 was trained on" in text
    assert text.index("| sex b |") < text.index("| sex a |")  # the worst first
    assert "Calibration of the prediction: off by 3.2 on average" in text
    assert "that long on ml.m5.large costs 0.23 USD (0.115 USD an hour, list price of 20" in text
    assert "would not be registered" not in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"champion": {}}, "No version serves yet."),
        ({"champion": {"version": "v1.0.0", "why": "it takes columns"}}, "Not compared with v1.0.0: it takes columns."),
        ({"slices": []}, "No column divides the rows"),
        ({"calibration": {"why": "only 12 rows"}}, "Calibration is not known: only 12 rows."),
        (
            {"passed": {"quality": False, "kpi": True}, "because": "mae is 70 on 89 rows; the worst allowed is 60"},
            "**It would not be registered:** mae is 70 on 89 rows; the worst allowed is 60.",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said(changes: dict[str, Any], says: str) -> None:
    assert says in report(**changes)


def test_tables_have_as_many_cells_as_columns() -> None:
    for text in (report(), report(champion={})):
        lines = [line for line in text.splitlines() if line.startswith("|")]
        widths = {line.count("|") for line in lines[:4]}
        assert len(widths) == 1


def test_names_that_mean_something_in_markdown_stay_names() -> None:
    slices = [{"column": "plan|kind", "value": "<b>`x`", "rows": 9, "metrics": {"mae": 1.0}}]
    row = next(line for line in report(slices=slices).splitlines() if "plan" in line)
    assert row == r"| plan\|kind &lt;b&gt;\`x\` | 9 | 1 |"


def test_groups_that_are_treated_differently_are_named() -> None:
    text = report()
    assert "| group | rows | DPL of the training labels | DPPL | DI | AD | RD |" in text
    assert text.index("| sex b\\|c | 40 | 0.05 | -0.3 | 0.8 |  |  |") < text.index("| sex a | 40 | 0.05 | 0.1 |")
    assert "age young" not in text and "Groups" not in report(groups=[])
