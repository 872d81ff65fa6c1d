"""Bias metrics by Clarify's names, with the figures that AWS's own library gives (smclarify 0.5)."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.monitoring.bias import CELLS, POST_TRAINING, PRE_TRAINING, cells, cells_by, post_training, pre_training

# smclarify.bias.metrics on these rows, DCAcc under the name DCA.
CLARIFY = {
    "CI": 0.377,
    "DPL": 0.14023903360761697,
    "KL": 0.04102696382797767,
    "JS": 0.010078130863474269,
    "LP": 0.19832794330198822,
    "TVD": 0.140239033607617,
    "KS": 0.14023903360761703,
    "CDDL": 0.12117018930987873,
    "DPPL": 0.08815544528256575,
    "DI": 0.8421455810740013,
    "DCAcc": 0.1309754701154373,
    "DCR": 0.07560805422647521,
    "SD": 0.03798480463096965,
    "RD": -0.012936500673299434,
    "DAR": 0.09535454493003193,
    "DRR": 0.09779704944178624,
    "AD": -0.012373655246534776,
    "TE": -0.24989668567650214,
    "CDDPL": 0.07589414503587909,
    "GE": 0.10641898050420144,
}


def rows() -> tuple[np.ndarray, ...]:
    random, n = np.random.default_rng(3), 2_000
    facet = random.random(n) < 0.3
    outcome = random.random(n) < np.where(facet, 0.35, 0.5)
    predicted = random.random(n) < np.where(outcome, 0.8, 0.3)
    return facet, outcome, predicted, random.choice(["x", "y", "z"], n)


def test_every_metric_is_the_one_of_clarify() -> None:
    facet, outcome, predicted, group = rows()
    known = np.ones(len(facet), dtype=bool)
    sides = (
        [facet & (group == each) for each in np.unique(group)],
        [~facet & (group == each) for each in np.unique(group)],
    )
    labels = pre_training(
        cells(outcome[facet]),
        cells(outcome[~facet]),
        [(cells(outcome[d]), cells(outcome[a])) for d, a in zip(*sides, strict=True)],
    )
    served = post_training(
        cells(predicted[facet], outcome[facet], known[facet]),
        cells(predicted[~facet], outcome[~facet], known[~facet]),
        [(cells(predicted[d]), cells(predicted[a])) for d, a in zip(*sides, strict=True)],
    )
    assert set(labels) == set(PRE_TRAINING) and set(served) == set(POST_TRAINING)
    assert labels | served == pytest.approx(CLARIFY)


def test_groups_are_counted_at_once_as_one_by_one() -> None:
    facet, outcome, predicted, _ = rows()
    known = np.random.default_rng(1).random(len(facet)) < 0.5
    for place, found in enumerate(cells_by(facet.astype(int), 2, predicted, outcome, known)):
        inside = facet == place
        assert found == cells(predicted[inside], outcome[inside], known[inside])
        assert sum(found[name] for name in CELLS[2:]) == (known & inside).sum()


def test_without_outcomes_only_predictions_are_compared() -> None:
    facet, _, predicted, _ = rows()
    assert set(post_training(cells(predicted[facet]), cells(predicted[~facet]))) == {"DPPL", "DI"}


@pytest.mark.parametrize("value", [True, False], ids=["always favourable", "never"])
def test_shares_of_nothing_are_left_out(value: bool) -> None:
    same = cells(np.full(50, value), np.full(50, value), np.full(50, True))
    found = post_training(same, same)
    assert found["DPPL"] == 0 and found["GE"] == 0 and "TE" not in found
    assert ("DI" in found) is value
    assert pre_training(same, same)["KL"] == 0
