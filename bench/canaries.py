"""Simulated canaries: how often a version that fails more is rolled back, and one that does not is promoted."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.canary.evidence import ERROR_LIMIT, Outcome, Rate, Split, events

STEP = 50  # requests between two looks


@dataclass(frozen=True)
class Simulated:
    """What became of many canaries.

    Attributes:
        worse, good: Share that was rolled back or promoted, 0 to 1.
        half_after: Requests, of both versions together, after which half of them were decided.
    """

    canaries: int
    worse: float
    good: float
    half_after: int


def simulate(champion: float, challenger: float, most: int, share: float, canaries: int, seed: int = 0) -> Simulated:
    """Canaries in which requests fail at random.

    Args:
        champion, challenger: Probability that a request fails.
        most: Requests, of both versions together, after which a canary ends undecided.
        share: Of the requests, that the challenger gets.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    outcomes, ends = [], []
    for _ in range(canaries):
        ours, theirs, outcome, asked = [0, 0], [0, 0], Outcome.OPEN, 0
        while outcome is Outcome.OPEN and asked < most:
            mine = int(random.binomial(STEP, share))
            for side, requests, rate in ((ours, mine, challenger), (theirs, STEP - mine, champion)):
                side[0] += requests
                side[1] += int(random.binomial(requests, rate))
            asked += STEP
            outcome = events("errors", "failed", [Split(Rate(*ours), Rate(*theirs), share)], ERROR_LIMIT).outcome
        outcomes.append(outcome)
        ends.append(asked)
    count = {kind: outcomes.count(kind) / canaries for kind in Outcome}
    return Simulated(canaries, count[Outcome.WORSE], count[Outcome.GOOD], int(np.median(ends)))


def main() -> None:
    """Print a table for several rates of failure, with 95 % intervals."""
    from scipy.stats import binomtest

    def shown(share: float, of: int) -> str:
        low, high = binomtest(round(share * of), of).proportion_ci(method="wilson")
        return f"{share:6.1%} ({low:.1%} to {high:.1%})"

    print("of 1,000 canaries, half of the requests for the challenger")
    print("champion fails   twice as often: rolled back within 2,000    as often: promoted within 5,000    rolled back")
    for rate in (0.01, 0.02, 0.05, 0.1, 0.2):
        bad, same = simulate(rate, 2 * rate, 2_000, 0.5, 1_000), simulate(rate, rate, 5_000, 0.5, 1_000)
        print(
            f"{rate:14.0%}   {shown(bad.worse, 1_000):>43}   {shown(same.good, 1_000):>32}   {shown(same.worse, 1_000)}"
        )


if __name__ == "__main__":
    main()
