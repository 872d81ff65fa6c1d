"""CloudWatch's alarms as AWS evaluates them, where moto only stores them: their states follow the metrics, composite
ones follow others, and who is named in their actions is told through SNS.

An alarm looks back over its periods, as on AWS, whenever data comes or somebody asks. One on a statistic of the
platform's own metrics takes each request that brings data as a period, so that a monitor's result is an alarm at once.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from groundplan.local.moto.metrics import MINUTE_S, Minute, Samples, metric_math, series_of, statistic_of

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
_ACTIONS = {"ALARM": "alarm_actions", "OK": "ok_actions", "INSUFFICIENT_DATA": "insufficient_data_actions"}
_TOKEN = re.compile(
    r'\s*(?:(ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:"([^"]*)"|\'([^\']*)\'|([^)"\']*?))\s*\)|([A-Z]+)|([()]))'
)
OWN = "Groundplan/"  # namespaces of the platform's own metrics
_MANY_VALUES = 100  # of one datum, above which moto gets a statistic set instead of an object for each
_EXTENDED = re.compile(r"^(p\d|TC|PR)", re.IGNORECASE)


@cache
def evaluate_alarms() -> None:
    """Make moto's CloudWatch evaluate its alarms, in this process."""
    from moto.cloudwatch.exceptions import ValidationError
    from moto.cloudwatch.models import Alarm, CloudWatchBackend
    from moto.cloudwatch.responses import CloudWatchResponse

    put_data, put_alarm = CloudWatchBackend.put_metric_data, CloudWatchBackend.put_metric_alarm
    describe, get_data = CloudWatchResponse.describe_alarms, CloudWatchBackend.get_metric_data

    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        put_data(self, namespace, [_lighter(datum) for datum in metric_data])
        now = time.time()
        samples_of(self).add(namespace, metric_data, now)
        arrived: dict[Any, Minute] = {}
        for datum in metric_data:
            series = series_of(namespace, datum["MetricName"], datum.get("Dimensions") or [])
            arrived.setdefault(series, Minute()).add(datum)
        for alarm in list(self.alarms.values()):
            if _looks_back(alarm):
                if any(series in arrived for _, series, _, _ in _queries(alarm)):
                    _look_back(self, alarm, now)
            elif alarm.rule is None:
                series = series_of(alarm.namespace, alarm.metric_name, alarm.dimensions)
                if series in arrived:
                    _take_period(alarm, arrived[series])
        _combine(self)

    def put_metric_alarm(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = self.alarms.get(kwargs.get("name", args[0] if args else ""))
        alarm = put_alarm(self, *args, **kwargs)
        # As on AWS: a new alarm has no state yet, and an update leaves it as it is; moto begins with OK.
        alarm.state_value = known.state_value if known else "INSUFFICIENT_DATA"
        alarm.state_transitioned_timestamp = (known or alarm).state_updated_timestamp
        alarm.recent_periods = getattr(known, "recent_periods", [])
        return alarm

    def describe_alarms(self: Any) -> Any:
        """Time passes without data, too."""
        backend, now = self.cloudwatch_backend, time.time()
        for alarm in list(backend.alarms.values()):
            if _looks_back(alarm):
                _look_back(backend, alarm, now)
        _combine(backend)
        return describe(self)

    def get_metric_data(
        self: Any, queries: list[dict[str, Any]], start_time: datetime, end_time: datetime, scan_by: str = ""
    ) -> list[dict[str, Any]]:
        if not any(_needs_us(query) for query in queries):
            found: list[dict[str, Any]] = get_data(self, queries, start_time, end_time, scan_by or "TimestampAscending")
            return found
        try:
            return list(_answered(samples_of(self), queries, start_time, end_time, scan_by == "TimestampDescending"))
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def put_composite_alarm(self: Any) -> Any:
        """Moto's PutMetricAlarm reads a rule, but nothing leads a composite alarm there."""
        backend, rule = self.cloudwatch_backend, self._get_param("AlarmRule")
        try:
            missing = _Rule(rule, backend.alarms).missing()
        except ValueError as error:
            raise ValidationError(f"Invalid AlarmRule: {error}") from None
        if missing:
            raise ValidationError(
                f"Could not save the composite alarm as alarms [{', '.join(missing)}] in the alarm rule do not exist"
            )
        made = self.put_metric_alarm()
        alarm = backend.alarms[self._get_param("AlarmName")]
        alarm.actions_suppressor = self._get_param("ActionsSuppressor")
        alarm.actions_suppressor_wait_period = self._get_param("ActionsSuppressorWaitPeriod")
        alarm.actions_suppressor_extension_period = self._get_param("ActionsSuppressorExtensionPeriod")
        _combine(backend)
        return made

    def set_alarm_state(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = set_state(self, *args, **kwargs)
        alarm = self.alarms[kwargs.get("alarm_name", args[0] if args else "")]
        if alarm.rule is not None:
            alarm.set_for = _Rule(alarm.rule, self.alarms).states()
        _combine(self)
        return made

    def changed(self: Any, reason: str, reason_data: str, state_value: str) -> None:
        before = self.state_value
        update_state(self, reason, reason_data, state_value)
        if before != state_value:
            self.state_transitioned_timestamp = self.state_updated_timestamp
            _tell(self, before)

    update_state, set_state = Alarm.update_state, CloudWatchBackend.set_alarm_state
    Alarm.update_state, CloudWatchBackend.set_alarm_state = changed, set_alarm_state
    CloudWatchResponse.put_composite_alarm = put_composite_alarm
    CloudWatchBackend.put_metric_data, CloudWatchBackend.put_metric_alarm = put_metric_data, put_metric_alarm
    CloudWatchResponse.describe_alarms, CloudWatchBackend.get_metric_data = describe_alarms, get_metric_data


def samples_of(backend: Any) -> Samples:
    """What came to a CloudWatch of moto's, by minute."""
    if not hasattr(backend, "samples"):
        backend.samples = Samples()
    found: Samples = backend.samples
    return found


def _lighter(datum: dict[str, Any]) -> dict[str, Any]:
    """Moto makes an object of each value; of a second's latencies it gets the statistics."""
    if (
        sum(float(n) for n in datum.get("Counts") or (datum.get("Values") and [1.0] * len(datum["Values"])) or [])
        < _MANY_VALUES
    ):
        return datum
    minute = Minute()
    minute.add(datum)
    statistics = {"SampleCount": minute.count, "Sum": minute.sum, "Minimum": minute.least, "Maximum": minute.most}
    return {**{k: v for k, v in datum.items() if k not in ("Values", "Counts")}, "StatisticValues": statistics}


def _looks_back(alarm: Any) -> bool:
    own = (alarm.namespace or "").startswith(OWN) and not alarm.extended_statistic
    return alarm.rule is None and bool(alarm.metric_data_queries or not own)


def _queries(alarm: Any) -> Iterator[tuple[str, Any, str, int]]:
    """Id, metric, statistic and period in seconds of what an alarm reads."""
    if alarm.metric_name:
        metric = series_of(alarm.namespace, alarm.metric_name, alarm.dimensions)
        yield "value", metric, alarm.extended_statistic or alarm.statistic, int(alarm.period or MINUTE_S)
    for query in alarm.metric_data_queries:
        if query.metric_stat is not None:
            metric = query.metric_stat.metric
            series = series_of(metric.namespace, metric.metric_name, metric.dimensions)
            yield query.id, series, query.metric_stat.stat, int(query.metric_stat.period)


def _look_back(backend: Any, alarm: Any, now: float) -> None:
    """Compare each of the newest periods, which end with the current minute."""
    samples, end = samples_of(backend), (now // MINUTE_S + 1) * MINUTE_S
    compare, wanted = _COMPARE.get(alarm.comparison_operator), int(alarm.evaluation_periods)
    if compare is None:
        return  # a band of expected values
    values: list[float | None] = []
    try:
        for back in range(wanted):
            known = {
                id_: samples.statistic(series, statistic, end - (back + 1) * period, end - back * period)
                for id_, series, statistic, period in _queries(alarm)
            }
            values.append(_returned(alarm, known))
    except ValueError as error:
        _change(alarm, "INSUFFICIENT_DATA", str(error), values)
        return
    breaches: list[bool | None] = [
        None if value is None else compare(value, float(alarm.threshold)) for value in values
    ]
    state = _state(breaches, alarm.treat_missing_data or "missing", int(alarm.datapoints_to_alarm or wanted))
    if state:
        _change(alarm, state, f"the newest periods are {values}, the threshold is {alarm.threshold:g}", values)


def _returned(alarm: Any, known: dict[str, float | None]) -> float | None:
    """The value that is compared: that of the query that returns data, or the only one."""
    for query in alarm.metric_data_queries:
        if query.expression:
            known[query.id] = metric_math(query.expression, known)
        if str(query.return_data).lower() == "true":
            return known[query.id]
    return next(reversed(known.values()), None)


def _state(breaches: list[bool | None], missing: str, wanted: int) -> str:
    """The new state; empty where the old one stays.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    if all(breach is None for breach in breaches) and missing in ("missing", "ignore"):
        return "INSUFFICIENT_DATA" if missing == "missing" else ""
    filled = [missing == "breaching" if breach is None else breach for breach in breaches]
    return "ALARM" if sum(filled) >= wanted else "OK"


def _take_period(alarm: Any, arrived: Minute) -> None:
    """Take what arrived as a period: the alarm changes when all of its last ones breach, or the newest does not."""
    compare, value = _COMPARE.get(alarm.comparison_operator), statistic_of([arrived], alarm.statistic or "")
    if compare is None or value is None:
        return
    wanted = int(alarm.evaluation_periods)
    periods = alarm.recent_periods = [*getattr(alarm, "recent_periods", []), value][-wanted:]
    if len(periods) < wanted:
        return
    state = "ALARM" if all(compare(each, float(alarm.threshold)) for each in periods) else "OK"
    says = "breach" if state == "ALARM" else "hold"
    _change(
        alarm, state, f"Threshold Crossed: {periods} {says} {alarm.comparison_operator} {alarm.threshold:g}", periods
    )


def _change(alarm: Any, state: str, reason: str, values: list[Any]) -> None:
    if state != alarm.state_value:
        alarm.update_state(reason, json.dumps({"recentDatapoints": values, "threshold": alarm.threshold}), state)


def _combine(backend: Any) -> None:
    """States of composite alarms; one may name another, so as long as anything changes. Those that silence others come
    first.
    """
    composites = sorted(
        (alarm for alarm in backend.alarms.values() if alarm.rule is not None),
        key=lambda alarm: len(list(_silenced_by(alarm, backend.alarms))),
    )
    for _ in composites:
        changed = False
        for alarm in composites:
            rule = _Rule(alarm.rule, backend.alarms)
            if getattr(alarm, "set_for", None) == rule.states():
                continue  # somebody has set its state: it holds until one of its alarms changes
            alarm.set_for = None
            state = "ALARM" if rule.holds() else "OK"
            if state != alarm.state_value:
                alarm.update_state(f"{alarm.rule} is {'true' if state == 'ALARM' else 'false'}", "{}", state)
                changed = True
        if not changed:
            break
    for alarm in composites:
        if getattr(alarm, "untold", "") and alarm.state_value == "ALARM":
            _tell(alarm, alarm.untold)  # what has silenced it may have ended


def _silenced_by(alarm: Any, alarms: dict[str, Any]) -> Iterator[Any]:
    """The alarms that silence one, and those that silence these."""
    seen = {alarm.name}
    while (name := _suppressor(alarm)) in alarms and name not in seen:
        seen.add(name)
        alarm = alarms[name]
        yield alarm


def _suppressor(alarm: Any) -> str:
    """Name of what silences an alarm, which is given as a name or an ARN; empty for nothing."""
    return (getattr(alarm, "actions_suppressor", None) or "").rpartition(":alarm:")[2]


def _tell(alarm: Any, before: str) -> None:
    """Publish a new state to the topics that the alarm's actions name. While what silences it rings, it waits; if it
    ends meanwhile, nobody hears of it. A new composite alarm's first OK, which AWS tells as well, is left out.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-suppression.html
    """
    from moto.cloudwatch.models import cloudwatch_backends
    from moto.sns.models import sns_backends

    region, account = alarm.alarm_arn.split(":")[3:5]
    silencer = next(_silenced_by(alarm, cloudwatch_backends[account][region].alarms), None)
    untold, alarm.untold = getattr(alarm, "untold", ""), ""
    if alarm.state_value == "OK" and (untold or (alarm.rule is not None and before == "INSUFFICIENT_DATA")):
        return
    if silencer is not None and silencer.state_value == "ALARM":
        alarm.untold = before if alarm.state_value == "ALARM" else ""
        return
    if not alarm.actions_enabled:
        return
    message = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": account,
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": alarm.state_updated_timestamp.strftime("%Y-%m-%dT%H:%M:%S.%f+0000"),
        "Region": _called(region),
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": before,
        **({"AlarmRule": alarm.rule} if alarm.rule else {"Trigger": _trigger(alarm)}),
    }
    topics = sns_backends[account][region].topics
    for arn in getattr(alarm, _ACTIONS[alarm.state_value]) or []:
        if arn in topics:
            topics[arn].publish(
                json.dumps(message), subject=f'{alarm.state_value}: "{alarm.name}" in {_called(region)}'
            )


@cache
def _called(region: str) -> str:
    """A region's name in words, as CloudWatch's messages have it."""
    from botocore.session import get_session

    regions = get_session().get_data("endpoints")["partitions"][0]["regions"]
    return str(regions.get(region, {}).get("description", region))


def _trigger(alarm: Any) -> dict[str, Any]:
    """What a metric alarm looks at, as its messages have it."""
    found = {
        "Period": alarm.period,
        "EvaluationPeriods": alarm.evaluation_periods,
        "ComparisonOperator": alarm.comparison_operator,
        "Threshold": alarm.threshold,
        "TreatMissingData": alarm.treat_missing_data or "missing",
    }
    if alarm.metric_name:
        found |= {
            "MetricName": alarm.metric_name,
            "Namespace": alarm.namespace,
            "StatisticType": "ExtendedStatistic" if alarm.extended_statistic else "Statistic",
            "Statistic": (alarm.extended_statistic or alarm.statistic or "").upper(),
            "Dimensions": [{"name": each.name, "value": each.value} for each in alarm.dimensions],
        }
    return found


class _Rule:
    """A composite alarm's rule, by recursive descent.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
    """

    def __init__(self, text: str, alarms: dict[str, Any]) -> None:
        self._alarms, self._text = alarms, text
        self._tokens = [found for found in _TOKEN.finditer(text) if found[0].strip()]
        self._place = 0

    def holds(self) -> bool:
        """Whether it is true now.

        Raises:
            ValueError: It is no rule; says where.
        """
        self._place = 0
        found = self._either()
        if self._place < len(self._tokens) or "".join(t[0] for t in self._tokens).strip() != self._text.strip():
            raise ValueError(f"{self._text!r} can't be read as a rule")
        return found

    def missing(self) -> list[str]:
        """Alarms that it names and that do not exist.

        Raises:
            ValueError: It is no rule.
        """
        self.holds()
        return sorted(name for name in self._names() if name not in self._alarms)

    def states(self) -> dict[str, str]:
        """The states of the alarms that it names."""
        return {name: self._alarms[name].state_value for name in self._names() if name in self._alarms}

    def _names(self) -> set[str]:
        return {_name(token) for token in self._tokens if token[1]}

    def _either(self) -> bool:
        found = self._both()
        while self._take("OR"):
            found = self._both() or found
        return found

    def _both(self) -> bool:
        found = self._one()
        while self._take("AND"):
            found = self._one() and found
        return found

    def _one(self) -> bool:
        if self._take("NOT"):
            return not self._one()
        if self._take("("):
            found = self._either()
            if not self._take(")"):
                raise ValueError(f"a bracket is not closed in {self._text!r}")
            return found
        token = self._tokens[self._place] if self._place < len(self._tokens) else None
        self._place += 1
        if token is not None and token[1]:
            alarm = self._alarms.get(_name(token))
            return alarm is not None and alarm.state_value == token[1]
        if token is None or token[5] not in ("TRUE", "FALSE"):
            raise ValueError(f"a state such as ALARM(name), TRUE or FALSE is missing in {self._text!r}")
        return bool(token[5] == "TRUE")

    def _take(self, word: str) -> bool:
        if self._place < len(self._tokens) and word in self._tokens[self._place].groups()[4:]:
            self._place += 1
            return True
        return False


def _name(token: re.Match[str]) -> str:
    """The alarm that a token names, by its name or its ARN."""
    name = next(part for part in token.groups()[1:4] if part is not None)
    return name.rpartition(":alarm:")[2]


def _needs_us(query: dict[str, Any]) -> bool:
    expression = query.get("Expression", "")
    if expression:
        return not expression.startswith("SELECT") and not expression.isidentifier()
    return bool(_EXTENDED.match(query.get("MetricStat", {}).get("Stat", "")))


def _answered(
    samples: Samples, queries: list[dict[str, Any]], start: datetime, end: datetime, descending: bool
) -> Iterator[dict[str, Any]]:
    """GetMetricData's results. An expression has the periods of what it names, or its own.

    Raises:
        ValueError: It is not computed here.
    """
    begin, until = (each.replace(tzinfo=each.tzinfo or UTC).timestamp() for each in (start, end))
    values: dict[str, dict[float, float | None]] = {}
    periods: dict[str, int] = {}
    for query in queries:
        asked, id_ = query.get("MetricStat"), query["Id"]
        if asked:
            period = periods[id_] = int(asked["Period"])
        else:
            named = [periods[name] for name in re.findall(r"[a-z]\w*", query["Expression"]) if name in periods]
            period = periods[id_] = int(
                query.get("Period") or max(named, default=max(periods.values(), default=MINUTE_S))
            )
        moments = [begin + period * place for place in range(max(0, int((until - begin - 1) // period) + 1))]
        if asked:
            metric = asked["Metric"]
            series = series_of(metric["Namespace"], metric["MetricName"], metric.get("Dimensions") or [])
            found = {
                moment: samples.statistic(series, asked["Stat"], moment, min(moment + period, until))
                for moment in moments
            }
        else:
            found = {
                moment: metric_math(query["Expression"], {name: of.get(moment) for name, of in values.items()})
                for moment in moments
            }
        values[id_] = found
        if str(query.get("ReturnData", True)).lower() == "true":
            known = [moment for moment in moments if found[moment] is not None]
            known = known[::-1] if descending else known
            yield {
                "id": id_,
                "label": query.get("Label") or id_,
                "values": [found[moment] for moment in known],
                "timestamps": [
                    datetime(1970, 1, 1, tzinfo=start.tzinfo) + timedelta(seconds=moment) for moment in known
                ],
                "status_code": "Complete",
            }
