"""Times of scheduled runs, in the two dialects of cron that schedules here use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_STEPS_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
_STEPS_HOURS = (1, 2, 3, 4, 6, 8, 12)


@dataclass(frozen=True)
class Hours:
    """Working hours, Monday to Friday, from ``start`` until ``end`` (1 to 24), in a time zone of the IANA database."""

    start: int
    end: int
    timezone: str

    @property
    def backup_window(self) -> str:
        """Half an hour in UTC (``hh:mm-hh:mm``) in the second working hour, by the zone's winter time."""
        begin, end = self._utc(0)
        return f"{begin:%H:%M}-{end:%H:%M}"

    @property
    def maintenance_window(self) -> str:
        """Half an hour in UTC on Wednesday (``wed:hh:mm-wed:hh:mm``), right after the backup."""
        begin, end = self._utc(31)
        return "-".join(f"{moment:%a:%H:%M}".lower() for moment in (begin, end))

    def _utc(self, after_minutes: int) -> tuple[datetime, datetime]:
        wednesday = datetime(2026, 1, 14, min(self.start + 1, self.end - 1), 0, tzinfo=ZoneInfo(self.timezone))
        begin = wednesday.astimezone(UTC) + timedelta(minutes=after_minutes)
        return begin, begin + timedelta(minutes=30)


@dataclass(frozen=True)
class Clock:
    """Minutes, hours, day of the month, day of the week; lists and names, which every dialect reads in the same way."""

    minute: str
    hour: str
    day: str = "*"
    weekday: str = "*"
    timezone: str = "UTC"

    @property
    def crontab(self) -> str:
        """Five fields, as Kubernetes takes them."""
        return f"{self.minute} {self.hour} {self.day} * {self.weekday}"

    @property
    def expression(self) -> str:
        """EventBridge Scheduler's form: six fields, and a question mark for the day that the other field decides.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based
        """
        day, weekday = (self.day, "?") if self.weekday == "*" else ("?", self.weekday)
        return f"cron({self.minute} {self.hour} {day} * {weekday} *)"


def clock(every_hours: float, hours: Hours | None = None) -> Clock:
    """A clock that runs at least once per ``every_hours``, with equal intervals within a day or week.

    Cron can't express "every 5 hours": the interval is the next shorter one that divides the day, or whole days for
    longer ones. If there are working hours, runs are within them, the first an hour after their start, when everything
    is up.
    """
    first, last = (hours.start + 1, hours.end - 1) if hours else (0, 23)
    first = min(first, last)
    weekdays, timezone = ("MON-FRI", hours.timezone) if hours else ("*", "UTC")
    if every_hours < 24:
        minutes = max(1, int(every_hours * 60))
        minute = (
            "0" if minutes >= 60 else _listed(range(0, 60, max(step for step in _STEPS_MINUTES if step <= minutes)), 60)
        )
        step = max((step for step in _STEPS_HOURS if step <= every_hours), default=1)
        return Clock(minute, _listed(range(first, last + 1, step), 24), weekday=weekdays, timezone=timezone)
    hour = str(first if hours else 3)
    if every_hours < 168:
        return Clock("0", hour, weekday=weekdays, timezone=timezone)
    return (
        Clock("0", hour, weekday="MON", timezone=timezone)
        if every_hours < 744
        else Clock("0", hour, day="1", timezone=timezone)
    )


def _listed(values: range, all_of: int) -> str:
    return "*" if len(values) == all_of else ",".join(map(str, values))
