"""The way of a version to all of a model's traffic: a shadow where the objectives ask for it, then step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipelines.audit.records import SHARE, append
from pipelines.canary import judging
from pipelines.canary.evidence import ERROR_LIMIT, Finding, Outcome, Rate, Split, events
from pipelines.canary.judging import Judgement, Observed
from pipelines.canary.turn import TakenBackError, Turn
from pipelines.canary.users import Users, agreement, differences, shadowed
from pipelines.context import Context
from pipelines.steps.endpoint import CANARY, CHALLENGER, CHAMPION, EndpointClient
from pipelines.steps.hosting import Hosting
from pipelines.training.labelled import Labelled
from spec.errors import GroundplanError
from spec.objectives import ModelObjectives

USERS = "users"
LOOK_S = 30.0  # between two looks at users' requests; a second on one machine
SHADOWED_AT_ONCE = 250  # requests between two looks at what a shadow has failed


@dataclass
class Rollout:
    """One version's canary, where two versions can share the requests.

    Attributes:
        candidate, champion: As the host names them, such as SageMaker models; no champion while no version is served.
        columns: The candidate's, as in ``model.json``.
        rows: Held-out rows that both can answer, and with which requests are made.
        labelled: Users' rows whose outcome is known by now, judged like held-out ones; None where there are too few.
        seen: What the pipeline's own requests to each variant have observed.
        users: What users' requests have, one split for each step.
    """

    context: Context
    endpoint: Hosting
    turn: Turn
    version: str
    candidate: str
    champion: str | None
    columns: list[dict[str, Any]]
    objectives: ModelObjectives
    task: str
    rows: list[dict[str, Any]]
    labelled: Callable[[], Finding | None] = lambda: None
    seen: dict[str, Observed] = field(default_factory=lambda: {CHAMPION: Observed(), CHALLENGER: Observed()})
    users: list[Split] = field(default_factory=list)
    _before: str = ""  # configuration
    _until: float = 0.0  # of ``time.monotonic``, for all steps together
    _quality: list[Finding] = field(default_factory=list)
    _apart: list[float] = field(default_factory=list)

    def judge(
        self, compare: Callable[[list[Any], list[Any]], list[Finding]], rows_of_champion: Labelled | None
    ) -> Judgement:
        """Give the version its share, step by step, until something speaks against it or nothing is missing any more.

        Whatever interrupts it leaves no traffic with the version. A process that is killed can't see to that; the next
        one that has the turn goes on, or takes the version back.

        Args:
            compare: Quality, KPI and slices, from the challenger's and the champion's predictions of their rows; the
                champion's are empty where there is none.
            rows_of_champion: The champion's own held-out rows, where it can't answer the candidate's.
        """
        steps = list(self.endpoint.settings.canary_steps) if self.champion else [0]
        self._before = self.endpoint.config()
        try:
            if _goes_on(self.endpoint, self.turn):
                steps = steps[self._continued(steps) :]
            else:
                if self.champion and self.objectives.canary.shadow:
                    found = self._as_shadow(compare)
                    if found.outcome is not Outcome.GOOD:
                        return found
                self._begin(steps[0])
            for percent in steps:
                found = self._step(percent, compare, rows_of_champion, last=percent == steps[-1])
                if found.outcome is not Outcome.GOOD:
                    break
            return found
        except TakenBackError:
            raise  # the endpoint is somebody else's by now
        except BaseException as error:
            self.take_back(f"its canary was interrupted ({type(error).__name__})")
            raise

    def take_back(self, why: str) -> None:
        """No traffic stays with the version: its share ends at once, then its instances."""
        self.turn.keep()
        self.turn.settled = False
        if not self.champion:
            assert isinstance(self.endpoint, EndpointClient)  # the cluster splits only between two versions
            empty = self.endpoint.create_empty(f"without-{self.version}", f"{self.version} was rolled back: {why}")
            self.endpoint.point(
                {CHAMPION: empty, CHALLENGER: empty},
                {CHAMPION: 1.0, CHALLENGER: 0.0},
                f"rollback-{self.version}",
                guarded=False,
            )
            self.turn.settled = True
            self._on_record(0, why)
            return
        with suppress(Exception):  # a faster way to what follows, which tells what is wrong
            self.endpoint.shift(0)
        if self.endpoint.config() != self._before:
            self.endpoint.use(self._before, guarded=False)
        self.turn.settled = True
        self._on_record(0, why)

    def promote(self, outcome: dict[str, Any]) -> str:
        """Give the version all of the traffic; returns the endpoint's configuration.

        Args:
            outcome: What remains to be recorded, should the process end before it is.
        """
        self.turn.keep(outcome=outcome)
        try:
            return self.endpoint.point(
                {CHAMPION: self.candidate, CHALLENGER: self.candidate},
                {CHAMPION: 1.0, CHALLENGER: 0.0},
                f"promote-{self.version}",
            )
        except BaseException:  # by an alarm: the canary's share is rolled back, too
            self.take_back("its promotion was stopped")
            raise

    def _begin(self, percent: int) -> None:
        other = self.champion
        if not other:
            assert isinstance(self.endpoint, EndpointClient)
            other = self.endpoint.create_empty("none", f"{self.version} is being tried")
        self.turn.settled = False
        self.turn.keep(before=self._before, percent=0)
        config = self.endpoint.point(
            {CHAMPION: other, CHALLENGER: self.candidate},
            {CHAMPION: 1 - percent / 100, CHALLENGER: percent / 100},
            f"canary-{self.version}",
        )
        self.turn.keep(config=config, percent=percent)
        self._on_record(percent, "its canary begins")

    def _on_record(self, percent: int, why: str, **more: Any) -> None:
        """What serves where is on record whenever it changes."""
        append(self.context, "pipeline", SHARE, version=self.version, percent=percent, reason=why, **more)

    def _continued(self, steps: list[int]) -> int:
        """How many steps the interrupted canary of this run had behind it; what it had seen is known again."""
        left = self.turn.left
        self._before = left["before"]
        for variant, counts in left.get("seen", {}).items():
            self.seen[variant] = Observed(*counts)
        self.users = [Split(Rate(*ours), Rate(*theirs), share) for ours, theirs, share in left.get("users", [])]
        self.turn.settled = False
        kept = ("before", "config", "seen", "users")  # its share may have been changed after it was last noted
        self.turn.keep(**{name: left[name] for name in kept if name in left})
        return steps.index(left["percent"]) if left["percent"] in steps else 0

    def _step(
        self,
        percent: int,
        compare: Callable[[list[Any], list[Any]], list[Finding]],
        rows_of_champion: Labelled | None,
        *,
        last: bool,
    ) -> Judgement:
        if self.turn.state.get("percent") != percent:
            self.turn.keep()
            self.endpoint.shift(percent)
            self.turn.keep(percent=percent)
            self._on_record(percent, "nothing speaks against it so far")
        alone = self.champion is None
        judging.watch(self.endpoint, self.rows, self.seen, self.objectives.latency_ms, alone=alone)
        self._note()
        found = self._judgement()
        if found.outcome is Outcome.WORSE:
            return found
        if not self._quality:
            ours = self.endpoint.predict(self.rows, CHALLENGER, CANARY)
            asked = self.rows if rows_of_champion is None else rows_of_champion.records()
            theirs = self.endpoint.predict(asked, CHAMPION, CANARY) if self.champion else []
            self._apart = differences(ours, theirs, self.task) if theirs and rows_of_champion is None else []
            self._quality = compare(ours, theirs)
            found = self._judgement()
        if found.outcome is Outcome.WORSE or alone:
            return found
        return self._wait_for_users(percent, last=last)

    def _judgement(self, *more: Finding) -> Judgement:
        watched = judging.requests_so_far(self.seen, self.users, alone=self.champion is None)
        return Judgement((*self._quality, *watched, *more))

    def _note(self) -> None:
        """Keep what has been observed, for whoever has to go on."""
        self.turn.keep(
            seen={variant: each.counts() for variant, each in self.seen.items()},
            users=[
                ([one.ours.requests, one.ours.events], [one.theirs.requests, one.theirs.events], one.share)
                for one in self.users
                if one.theirs
            ],
        )

    def _wait_for_users(self, percent: int, *, last: bool) -> Judgement:
        """Wait until enough of users' requests have reached the version, or the longest wait ends."""
        wanted, steps = self.objectives.canary, self.endpoint.settings.canary_steps
        if not wanted.requests:
            return self._judgement()
        need = wanted.requests if last else math.ceil(wanted.requests / len(steps))
        watched, earlier = Users.from_now(self.endpoint, percent), list(self.users)
        self._until = self._until or time.monotonic() + wanted.wait_minutes * 60
        while True:
            self.users = [*earlier, watched.counted()]
            self._note()  # and find out whether a person has taken it back
            reached = sum(split.ours.requests for split in self.users)
            says = f"{reached} of {need} requests of users have reached it"
            found = self._judgement(Finding(USERS, Outcome.GOOD if reached >= need else Outcome.OPEN, says))
            if found.outcome is Outcome.WORSE or reached >= need or time.monotonic() > self._until:
                break
            time.sleep(1 if self.endpoint.local else LOOK_S)
        if found.outcome is Outcome.GOOD:
            more = self.labelled() or agreement(
                self.context, self.endpoint, self.version, self.columns, self._apart, self.task
            )
            found = Judgement((*found.findings, more)) if more else found
        return found

    def _as_shadow(self, compare: Callable[[list[Any], list[Any]], list[Finding]]) -> Judgement:
        """Errors and quality by copies of requests; nobody gets an answer."""
        assert self.champion
        self.turn.settled = False
        self.turn.keep(before=self._before, percent=0)
        self.endpoint.point(
            {CHAMPION: self.champion}, {}, f"shadow-{self.version}", shadow=self.candidate, guarded=False
        )
        self._on_record(0, "it gets copies of requests, and nobody its answers", shadow=True)
        watched, sent = Users.from_now(self.endpoint, 50), 0
        until = time.monotonic() + self.objectives.canary.wait_minutes * 60
        while True:
            for number in range(sent, sent + SHADOWED_AT_ONCE):
                self.endpoint.ask(self.rows[number % len(self.rows)])
            sent += SHADOWED_AT_ONCE
            self.turn.keep()  # and find out whether a person has taken it back
            while (counted := watched.counted()).ours.requests < sent and time.monotonic() < until:
                time.sleep(1 if self.endpoint.local else LOOK_S)
            errors = events("errors", "failed", [counted], ERROR_LIMIT)
            if errors.outcome is not Outcome.OPEN or sent >= judging.MOST_REQUESTS or time.monotonic() > until:
                break
        if errors.outcome is Outcome.WORSE:
            return Judgement((errors,))
        ours, theirs = shadowed(self.context, self.endpoint, self.version, self.rows, until)
        if not ours:
            raise GroundplanError(
                f"the endpoint has not captured what {self.version} answered as a shadow",
                where=self.endpoint.name,
                fix=f"raise groundplan:objectives.models.{self.context.model}.canary.wait_minutes",
            )
        self._quality, self._apart = compare(ours, theirs), differences(ours, theirs, self.task)
        return Judgement((*self._quality, errors))


def settle(endpoint: Hosting, turn: Turn) -> str:
    """Undo what an interrupted canary has left, unless it is this run's own, which goes on; returns the version that
    was taken back, empty if none was.
    """
    left = turn.left
    before, done = left.get("before", ""), turn.resumed and "outcome" in left
    if done or _goes_on(endpoint, turn) or not before or before == endpoint.config():
        return ""
    turn.settled = False
    turn.keep(before=before)
    endpoint.use(before, guarded=False)
    turn.settled = True
    return str(left["version"])


def _goes_on(endpoint: Hosting, turn: Turn) -> bool:
    return turn.resumed and bool(turn.left.get("config")) and turn.left["config"] == endpoint.config()
