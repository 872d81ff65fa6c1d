"""Which of the models that a script logs is used, and the message where none can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from pipelines.context import sandbox_objectives
from pipelines.training.choice import choose
from pipelines.training.labelled import Labelled
from pipelines.training.recorder import Logged
from spec.errors import GroundplanError

RANDOM = np.random.default_rng(4)
X = pd.DataFrame(RANDOM.normal(size=(200, 2)), columns=["a", "b"])
Y = X["a"] - X["b"] + RANDOM.normal(0, 0.1, 200)
HELD_OUT = Labelled(X[100:], Y[100:])


def logged(model: Any, run: str, labels: Any = Y, **more: Any) -> Logged:
    return Logged(
        model.fit(X[:100], labels[:100]),
        X[:100],
        labels[:100],
        run_id=f"id-{run}",
        run_name=run,
        artifact="model",
        **more,
    )


def taken(*items: Logged, **asked: str) -> tuple[str, dict[str, Any]]:
    found, choice = choose(list(items), lambda item: HELD_OUT, sandbox_objectives, Path("train.py"), **asked)
    return found.run_name, choice


STUMP, TREE, LINE = (
    logged(model, run)
    for model, run in (
        (DecisionTreeRegressor(max_depth=1), "stump"),
        (DecisionTreeRegressor(max_depth=5), "tree"),
        (LinearRegression(), "line"),
    )
)


def test_the_best_is_taken_whatever_the_order_and_the_others_are_told() -> None:
    for order in ((STUMP, TREE, LINE), (LINE, TREE, STUMP), (TREE, LINE, STUMP)):
        name, choice = taken(*order)
        assert name == "line" and choice["why"].startswith("the best by rmse: 0.1")
        assert [item["name"] for item in choice["others"]] == [
            "model of run tree (DecisionTreeRegressor)",
            "model of run stump (DecisionTreeRegressor)",
        ]
        assert all(item["rmse"] > 0.2 for item in choice["others"])


def test_the_registered_one_and_the_one_that_was_asked_for_come_first() -> None:
    registered = logged(DecisionTreeRegressor(max_depth=1), "mine", registered=True)
    assert taken(LINE, registered, TREE) == (
        "mine",
        {
            "name": registered.name,
            "why": "registered by the script",
            "others": [{"name": LINE.name}, {"name": TREE.name}],
        },
    )
    assert (
        taken(LINE, registered, TREE, run_name="tree")[0] == "tree"
        and taken(LINE, TREE, run_name="id-tree")[0] == "tree"
    )
    assert taken(LINE)[1] == {"name": LINE.name, "why": "", "others": []}


def test_what_only_prepares_is_not_taken() -> None:
    scaler = Logged(StandardScaler().fit(X), X, None, artifact="scaler")
    assert taken(scaler, LINE)[0] == "line"
    with pytest.raises(GroundplanError, match=r"nothing that the script logged predicts: scaler of run"):
        taken(scaler)


@pytest.mark.parametrize(
    ("items", "asked", "says"),
    [
        ((), {}, "the script logged no model"),
        (
            (Logged(LINE.model, None, None),),
            {},
            "the logged model was not fitted with features and labels in this script",
        ),
        (
            (LINE, TREE),
            {"run_name": "bush"},
            r"no model with --run 'bush'\n  -> it logged: model of run line \(LinearRegression\); model of run tree",
        ),
        ((LINE, TREE), {"artifact": "other"}, "no model with --artifact 'other'"),
        ((LINE, logged(LinearRegression(), "other", labels=Y * 1000 + 7)), {}, "with different targets"),
        ((LINE, logged(LogisticRegression(), "classes", labels=Y > 0)), {}, "with different targets"),
    ],
)
def test_what_can_not_be_chosen_is_said(items: tuple[Logged, ...], asked: dict[str, str], says: str) -> None:
    with pytest.raises(GroundplanError, match=says):
        taken(*items, **asked)
