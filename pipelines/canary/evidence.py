"""Tests of one version against another, with error rates that hold however often one looks.

What happens to requests (they fail, they are slow) is judged while they come in. Of the events of both versions, the
share that is the new version's depends only on how often each has one, and on the share of requests that each gets; it
is tested by e-values, the ratio of what mixtures of alternatives and what the hypothesis make of the counts (Lindon and
Malek 2022, "Anytime-Valid Inference for Multinomial Count Data", https://arxiv.org/abs/2011.03567; a hypothesis is
rejected when its e-value reaches 1 / alpha: Ville's inequality). The probabilities are SciPy's. Labelled rows are
looked at once, so an ordinary test of the mean difference fits them (scipy.stats.ttest_rel; with few differing rows
scipy.stats.permutation_test).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ALPHA = 0.05  # chance that a version as good as the other is rolled back, all metrics together
METRICS = 6  # that share it: errors, latency, quality, KPI, slices, users' rows with a known outcome
BETA = 0.05  # chance that a version that fails at the margin's rate is called good enough
MARGIN = 2.0  # a version must be shown to have fewer than this many times the other's events
ERROR_LIMIT, SLOW_LIMIT = 0.01, 0.05  # or fewer than this share of its requests
QUALITY_MARGIN = 0.10  # its loss must be shown to be less than this share above the other's
FEW = 30  # rows that differ; with fewer, differences are not near enough to a normal distribution
RESAMPLES = 9_999
SLICES = "slices"
_STRONGER = (2.0, 4.0, 16.0)  # ratios of rates among the alternatives


class Outcome(StrEnum):
    """What the evidence says of one metric."""

    WORSE = "worse"
    GOOD = "good enough"
    OPEN = "not enough evidence"


@dataclass(frozen=True)
class Finding:
    """One metric.

    Attributes:
        says: The figures, as a sentence.
        required: Whether it must be shown to be good enough; others can only speak against the version.
    """

    metric: str
    outcome: Outcome
    says: str
    required: bool = True


@dataclass(frozen=True)
class Rate:
    """Requests of one version, and how many of them had the event."""

    requests: int
    events: int

    @property
    def text(self) -> str:
        """For a sentence."""
        return f"{self.events} of {self.requests}"


@dataclass(frozen=True)
class Split:
    """Requests that were divided between both versions in one way.

    Attributes:
        theirs: None without another version.
        share: Probability that a request went to the new version, 0 to 1.
    """

    ours: Rate
    theirs: Rate | None
    share: float


def events(metric: str, what: str, splits: Sequence[Split], limit: float) -> Finding:
    """How often something bad happens, while requests come in.

    Worse means: more often than the other version, and, of slow answers, than the limit. Good enough means: less than
    ``MARGIN`` times as often, or less than the limit. Without another version, the limit decides. Where requests were
    divided in several ways, one after the other, the e-values are multiplied.

    Args:
        what: For sentences: ``failed``.
        splits: At least one.
        limit: Share of requests that may have the event, 0 to 1.
    """
    alpha = ALPHA / METRICS
    ours = _sum(split.ours for split in splits)
    over, under = _against_limit(ours, limit)
    if any(split.theirs is None for split in splits):
        outcome = Outcome.WORSE if over >= 1 / alpha else Outcome.GOOD if under >= 1 / BETA else Outcome.OPEN
        return Finding(metric, outcome, f"{ours.text} requests {what} ({limit:.0%} may)")
    theirs = _sum(split.theirs for split in splits if split.theirs)
    more, fewer = _against_other(splits)
    worse = more >= 1 / alpha and (metric != "latency" or over >= 1 / alpha)
    # Either is enough, so each has half of the error rate.
    good = max(fewer, under) >= 2 / BETA
    outcome = Outcome.WORSE if worse else Outcome.GOOD if good else Outcome.OPEN
    return Finding(metric, outcome, f"{ours.text} requests {what} (the champion's: {theirs.text})")


def mean_loss(
    metric: str, ours: Any, theirs: Any, *, rival: str, paired: bool, tolerance: float, required: bool
) -> Finding:
    """The mean loss on labelled rows, looked at once.

    Args:
        metric: What the mean is, in words: ``error rate``.
        rival: Whose ``theirs`` are, in words.
        ours, theirs: Loss of each row, of shape [n]; of the same rows if ``paired``.
        tolerance: Share by which ours may be larger, as the objectives allow.
    """
    import numpy as np

    one, two = (np.asarray(losses, dtype=float) for losses in (ours, theirs))
    mean, other = float(one.mean()), float(two.mean())
    says = f"its {metric} is {mean:.4g}, the {rival}'s {other:.4g}, on {len(one)} rows"
    if not np.isfinite(one).all():
        return Finding(metric, Outcome.WORSE, f"{says}: not every prediction is a number", required)
    if mean > other * (1 + tolerance) and p_larger(one, two, paired=paired) < ALPHA / METRICS:
        return Finding(metric, Outcome.WORSE, says, required)
    margin = other * max(QUALITY_MARGIN, tolerance)
    good = p_larger(two + margin, one, paired=paired) < BETA if margin else bool((one <= two).all())
    return Finding(metric, Outcome.GOOD if good else Outcome.OPEN, says, required)


def slices(
    metric: str, ours: Any, theirs: Any, parts: Sequence[tuple[str, str, Any]], *, rival: str, tolerance: float
) -> Finding:
    """The slice that is worse than the other version's, if one is; the rows are paired.

    Args:
        parts: Column, value, and places of the rows of each slice.
        tolerance: Share by which a loss may be larger.
    """
    import numpy as np

    one, two = (np.asarray(losses, dtype=float) for losses in (ours, theirs))
    worst: tuple[float, str] | None = None
    for column, value, places in parts:
        mine, other = one[places], two[places]
        if mine.mean() <= other.mean() * (1 + tolerance):
            continue
        p = p_larger(mine, other, paired=True)
        says = f"where {column} is {value}, its {metric} is {mine.mean():.4g}, the {rival}'s {other.mean():.4g}"
        if worst is None or p < worst[0]:
            worst = p, f"{says}, on {len(mine)} rows"
    if worst is not None and worst[0] < ALPHA / METRICS / len(parts):
        return Finding(SLICES, Outcome.WORSE, worst[1], required=False)
    return Finding(SLICES, Outcome.GOOD, f"none of {len(parts)} is shown to be worse", required=False)


def p_larger(one: Any, two: Any, *, paired: bool) -> float:
    """Probability of such a difference of means if ``one`` is in truth not larger than ``two``."""
    import numpy as np
    from scipy import stats

    if not paired:
        return float(stats.ttest_ind(one, two, equal_var=False, alternative="greater").pvalue)
    difference = np.asarray(one) - np.asarray(two)
    differing = difference[difference != 0]
    if not len(differing):
        return 1.0
    if np.ptp(difference) == 0:  # every row by the same amount
        return 0.0 if difference[0] > 0 else 1.0
    if len(differing) >= FEW:
        return float(stats.ttest_rel(one, two, alternative="greater").pvalue)
    found = stats.permutation_test(
        (np.append(differing, 0.0),),  # a row without a difference changes nothing, and SciPy wants two rows
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=0,
    )
    return float(found.pvalue)


def _sum(rates: Iterable[Rate]) -> Rate:
    found = list(rates)
    return Rate(sum(rate.requests for rate in found), sum(rate.events for rate in found))


def _against_other(splits: Sequence[Split]) -> tuple[float, float]:
    """e-values against "not more often than the other" and against "at least ``MARGIN`` times as often"."""
    more = fewer = 1.0
    mine, even_ones, much_ones = 0, 0.0, 0.0
    for split in splits:
        ours, share = split.ours.events, split.share
        count = ours + (split.theirs.events if split.theirs else 0)
        even, much = share, _share_of(MARGIN, share)
        more *= _e_value(ours, count, even, [_share_of(ratio, share) for ratio in _STRONGER], (1, 1))
        fewer *= _e_value(ours, count, much, [even, _share_of(1 / MARGIN, share)], (1, 1))
        mine, even_ones, much_ones = mine + ours, even_ones + even * count, much_ones + much * count
    # Each hypothesis has rates on one side of the tested one; counts on that side don't speak against it.
    return (more if mine > even_ones else 0.0), (fewer if mine < much_ones else 0.0)


def _against_limit(ours: Rate, limit: float) -> tuple[float, float]:
    """e-values against "at most the limit" and against "at least the limit"."""
    over = _e_value(
        ours.events, ours.requests, limit, [min(0.99, ratio * limit) for ratio in _STRONGER], (1, 1 / limit)
    )
    under = _e_value(ours.events, ours.requests, limit, [limit / 4, 0.0], (1, 1 / limit))
    expected = limit * ours.requests
    return (over if ours.events > expected else 0.0), (under if ours.events < expected else 0.0)


def _share_of(ratio: float, share: float) -> float:
    """The new version's share of the events, if it has them ``ratio`` times as often."""
    return share * ratio / (share * ratio + 1 - share)


def _e_value(count: int, total: int, null: float, alternatives: Sequence[float], prior: tuple[float, float]) -> float:
    """How much better the alternatives, mixed in equal parts with a beta distribution, explain the count."""
    from scipy.special import logsumexp
    from scipy.stats import betabinom, binom

    explained = [betabinom.logpmf(count, total, *prior), *(binom.logpmf(count, total, each) for each in alternatives)]
    log = float(logsumexp(explained)) - math.log(len(explained)) - float(binom.logpmf(count, total, null))
    return math.exp(min(log, 300.0))
