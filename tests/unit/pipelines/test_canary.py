"""How a canary is judged: the evidence, its error rates, and what follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.canaries import simulate
from pipelines.canary.evidence import Finding, Outcome, Rate, Split, events, mean_loss, p_larger, slices
from pipelines.canary.judging import Answered, Judgement, Loss, quality
from pipelines.context import sandbox_objectives
from pipelines.training.labelled import Labelled
from spec.objectives import ModelObjectives

WORSE, GOOD, OPEN = Outcome.WORSE, Outcome.GOOD, Outcome.OPEN


def errors(ours: tuple[int, int], theirs: tuple[int, int] | None, share: float = 0.5) -> Outcome:
    return events("errors", "failed", [Split(Rate(*ours), Rate(*theirs) if theirs else None, share)], 0.01).outcome


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        ((0, 0), (0, 0), OPEN),
        ((10, 0), (10, 0), OPEN),
        ((10, 10), (10, 0), WORSE),
        ((20, 2), (400, 0), OPEN),
        ((600, 0), (600, 0), GOOD),
        ((600, 60), (600, 58), GOOD),
        ((1000, 100), (1000, 50), WORSE),
        ((1000, 50), (1000, 100), GOOD),
        ((100, 100), (100, 100), GOOD),
        ((100_000, 110), (100_000, 100), GOOD),
    ],
)
def test_errors_are_judged_by_what_they_show(ours: Any, theirs: Any, outcome: Outcome) -> None:
    assert errors(ours, theirs) is outcome


@pytest.mark.parametrize(
    ("ours", "outcome"), [((20, 0), OPEN), ((600, 0), GOOD), ((600, 60), WORSE), ((400, 4), OPEN), ((5, 5), WORSE)]
)
def test_the_first_version_is_judged_by_the_limit(ours: Any, outcome: Outcome) -> None:
    assert errors(ours, None, 1.0) is outcome


def test_a_small_share_of_the_traffic_is_taken_into_account() -> None:
    assert errors((100, 10), (1900, 190), 0.05) is not WORSE, "as many of its requests as of the other's"
    assert errors((100, 40), (1900, 190), 0.05) is WORSE


def slow(ours: tuple[int, int], theirs: tuple[int, int]) -> Outcome:
    return events("latency", "were too slow", [Split(Rate(*ours), Rate(*theirs), 0.5)], 0.05).outcome


def test_slow_answers_count_against_a_version_only_if_the_other_has_fewer_and_the_objective_is_missed() -> None:
    assert slow((500, 200), (500, 10)) is WORSE
    assert slow((500, 200), (500, 200)) is not WORSE, "the machine is slow, not the version"
    assert slow((1000, 15), (1000, 0)) is GOOD, "more often than the other, but within the objective"
    assert slow((500, 2), (500, 2)) is GOOD


def test_the_error_rates_are_those_that_are_stated() -> None:
    """A tenth of ``python -m bench canaries``, whose intervals are in docs/versions.md."""
    same = simulate(0.1, 0.1, 5_000, 0.5, 100)
    assert same.worse <= 0.05 and same.good >= 0.8, same
    bad = simulate(0.1, 0.2, 2_000, 0.5, 100)
    assert bad.worse >= 0.9 and bad.good <= 0.05, bad
    never = simulate(0.0, 0.0, 5_000, 0.5, 20)
    assert never.good == 1.0 and never.worse == 0.0


def test_ten_requests_an_hour_are_not_enough_for_either_verdict() -> None:
    found = simulate(0.05, 0.05, 240, 0.05, 100, seed=1)
    assert found.worse <= 0.01 and found.good <= 0.1, "a day of them: neither an abort nor a promotion"


RANDOM = np.random.default_rng(0)


def loss(ours: Any, theirs: Any, tolerance: float = 0.0) -> Outcome:
    return mean_loss("error", ours, theirs, rival="champion", paired=True, tolerance=tolerance, required=True).outcome


def test_losses_on_the_same_rows_are_compared() -> None:
    base = RANDOM.exponential(size=2_000)
    noise = RANDOM.normal(scale=0.05, size=2_000)
    assert loss(base, base) is GOOD, "the same answers"
    assert loss(base + noise, base) is GOOD
    assert loss(base * 1.3, base) is WORSE
    assert loss(base * 0.8, base) is GOOD
    assert loss(base * 1.02, base, tolerance=0.05) is GOOD, "the objectives allow it"
    assert loss([1.0, float("nan")], [1.0, 1.0]) is WORSE
    assert loss(RANDOM.exponential(size=40), RANDOM.exponential(size=40)) is OPEN, "forty rows say little"
    assert loss([0.0] * 50, [0.0] * 50) is GOOD and loss([0.0] * 49 + [1.0], [0.0] * 50) is OPEN


def test_few_differing_rows_are_judged_exactly() -> None:
    ours, theirs = np.zeros(200), np.zeros(200)
    ours[:5] = 1.0
    assert p_larger(ours, theirs, paired=True) == pytest.approx(1 / 32, rel=0.2)
    ours[:12] = 1.0
    assert loss(ours, theirs) is WORSE


def test_unpaired_rows_are_compared_too() -> None:
    ours, theirs = RANDOM.exponential(size=900) * 1.5, RANDOM.exponential(size=700)
    found = mean_loss("error", ours, theirs, rival="champion", paired=False, tolerance=0.0, required=True)
    assert found.outcome is WORSE and "on 900 rows" in found.says


def rows(count: int = 1_200) -> tuple[Labelled, Any]:
    """Rows of two groups, and labels of two classes."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"x": random.normal(size=count), "group": random.choice(["a", "b", "c"], size=count)})
    return Labelled(frame, pd.Series(random.integers(0, 2, size=count))), random


def objectives(metric: str = "accuracy", kpi: str = "accuracy") -> ModelObjectives:
    known = sandbox_objectives("classification").model_dump()
    known["quality"] |= {"metric": metric}
    known["value"] |= {"kpi": kpi}
    return ModelObjectives.model_validate(known)


def flipped(labels: Any, share: Any, random: Any) -> list[int]:
    """Predictions that are wrong for this share of the rows."""
    wrong = random.random(len(labels)) < share
    return [int(1 - label) if bad else int(label) for label, bad in zip(labels, wrong, strict=True)]


def judged(ours: list[int], theirs: list[int], known: Labelled, wanted: ModelObjectives) -> Judgement:
    pair = (Answered(known, theirs), Answered(known, ours))
    return Judgement(tuple(quality(*pair, wanted, (), task="classification", classes=[0, 1])))


def test_a_version_that_is_worse_for_one_slice_is_worse() -> None:
    known, random = rows()
    theirs = flipped(known.labels, 0.2, random)
    in_c = (known.features["group"] == "c").to_numpy()
    better = [int(label) if not c else guess for label, guess, c in zip(known.labels, theirs, in_c, strict=True)]
    worse_in_c = [
        int(1 - label) if c and place % 2 else guess
        for place, (label, guess, c) in enumerate(zip(known.labels, better, in_c, strict=True))
    ]
    found = judged(worse_in_c, theirs, known, objectives())
    assert found.outcome is WORSE and found.says.startswith("where group is c, its error rate is"), found
    assert next(each for each in found.findings if each.metric == "error rate").outcome is not WORSE, "on the whole"
    assert judged(better, theirs, known, objectives()).outcome is GOOD


def test_the_business_kpi_can_speak_against_a_version() -> None:
    known, random = rows(4_000)
    theirs = flipped(known.labels, 0.2, random)
    never_warns = [0 if guess == 1 and place % 3 == 0 else guess for place, guess in enumerate(theirs)]
    found = judged(never_warns, theirs, known, objectives(kpi="correct_warnings"))
    by_metric = {each.metric: each for each in found.findings}
    assert by_metric["share of missed warnings"].outcome is WORSE and not by_metric["share of missed warnings"].required
    assert found.outcome is WORSE


@pytest.mark.parametrize(
    ("metric", "label", "good", "bad", "wanted"),
    [
        ("mae", 3.0, 2.5, 7.0, (0.5, 4.0)),
        ("rmse", 3.0, 2.5, 7.0, (0.25, 16.0)),
        ("accuracy", 1, 1, 0, (0.0, 1.0)),
        ("correct_warnings", 1, 1, 0, (0.0, 1.0)),
        ("correct_warnings", 0, 1, 0, (0.0, 0.0)),
    ],
)
def test_each_metric_has_its_loss(metric: str, label: Any, good: Any, bad: Any, wanted: Any) -> None:
    known = Labelled(pd.DataFrame({"x": [1]}), pd.Series([label]))
    task = "regression" if metric in ("mae", "rmse") else "classification"
    fits = Loss.of(metric, task, known, [0, 1])
    assert fits is not None and (fits(good, label), fits(bad, label)) == wanted
    assert Loss.of("roc_auc", "classification", known, [0, 1]) is None


def test_the_balanced_loss_weighs_each_class_alike() -> None:
    known = Labelled(pd.DataFrame({"x": range(10)}), pd.Series([1] + [0] * 9))
    fits = Loss.of("balanced_accuracy", "classification", known, [0, 1])
    assert fits is not None
    assert np.mean(fits.each([0] * 10, known)) == pytest.approx(0.5) == np.mean(fits.each([1] * 10, known))


def test_one_worse_metric_is_enough_and_all_required_ones_must_be_good() -> None:
    def outcome(*each: tuple[Outcome, bool]) -> Outcome:
        return Judgement(tuple(Finding(str(n), kind, "", needed) for n, (kind, needed) in enumerate(each))).outcome

    assert outcome((GOOD, True), (GOOD, True), (OPEN, False)) is GOOD
    assert outcome((GOOD, True), (OPEN, True)) is OPEN
    assert outcome((GOOD, True), (OPEN, True), (WORSE, False)) is WORSE


def test_many_slices_share_the_error_rate() -> None:
    random = np.random.default_rng(3)
    false = 0
    for _ in range(200):
        ours, theirs = (random.random(600) < 0.2 for _ in range(2))
        parts = [("part", str(n), np.arange(n * 40, n * 40 + 40)) for n in range(15)]
        false += slices("error rate", ours, theirs, parts, rival="champion", tolerance=0.0).outcome is WORSE
    assert false <= 8, "at most 1 % on average; 8 of 200 would be six standard deviations more"
