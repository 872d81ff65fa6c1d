"""The local cloud's alarms follow their metrics as CloudWatch's do; its own examples, and its documented edges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws

from groundplan.local.moto.alarms import evaluate_alarms
from groundplan.local.moto.mail import keep_mail, mails
from groundplan.local.moto.metrics import Minute, metric_math, statistic_of


@pytest.fixture(scope="module", autouse=True)
def _patched() -> None:
    evaluate_alarms()
    keep_mail()


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("cloudwatch", region_name="us-east-1")


def put(cloudwatch: Any, name: str, *values: float, ago_s: float = 0, space: str = "shop") -> None:
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    data = [{"MetricName": name, "Timestamp": at, "Value": value} for value in values]
    cloudwatch.put_metric_data(Namespace=space, MetricData=data)


def query(id_: str, name: str, statistic: str, period: int = 300) -> dict[str, Any]:
    metric = {"Namespace": "shop", "MetricName": name}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}, "ReturnData": False}


def alarm(cloudwatch: Any, name: str, expression: str, queries: list[dict[str, Any]], **more: Any) -> None:
    settings = {
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 0.1,
        "EvaluationPeriods": 1,
        "TreatMissingData": "notBreaching",
    }
    metrics = [*queries, {"Id": "e", "Expression": expression, "ReturnData": True}]
    cloudwatch.put_metric_alarm(AlarmName=name, Metrics=metrics, **{**settings, **more})


def state(cloudwatch: Any, *names: str) -> list[str]:
    found = cloudwatch.describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    states = {each["AlarmName"]: each["StateValue"] for each in found["MetricAlarms"] + found["CompositeAlarms"]}
    return [states[name] for name in names]


@pytest.mark.parametrize(
    ("expression", "values", "wanted"),
    [
        # From https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
        ("m1/m2*100", {"m1": 3.0, "m2": 12.0}, 25.0),
        ("SUM([m1, m2])", {"m1": 3.0, "m2": None}, 3.0),
        ("SUM(METRICS())/2", {"m1": 3.0, "m2": 5.0}, 4.0),
        ('SUM(METRICS("err"))', {"err1": 1.0, "err2": 3.0, "all": 9.0}, 4.0),
        ("FILL(m1/m2, 0)", {"m1": 1.0, "m2": 0.0}, 0.0),
        ("IF(m1>10 AND m2<5, 1, 0)", {"m1": 11.0, "m2": 4.0}, 1.0),
        ("IF(m1 < 1 || m2 < 1, m1, m2)", {"m1": 2.0, "m2": 7.0}, 7.0),
        ("FILL(m1, 0) + m2", {"m1": None, "m2": 2.0}, 2.0),
        ("m1 + m2", {"m1": None, "m2": 2.0}, None),
        ("m1 / m2", {"m1": 1.0, "m2": 0.0}, None),
        ("-m1^2", {"m1": 3.0}, -9.0),
        ("MAX([m1,m2]) - MIN([m1,m2])", {"m1": 3.0, "m2": 1.0}, 2.0),
        ("100*(1-CEIL(m1))", {"m1": 0.2}, 0.0),
    ],
)
def test_metric_math(expression: str, values: dict[str, float | None], wanted: float | None) -> None:
    assert metric_math(expression, values) == wanted


@pytest.mark.parametrize("expression", ["ANOMALY_DETECTION_BAND(m1, 2)", "m9 + 1", "__import__('os')", "m1 +"])
def test_what_is_not_computed_here_is_said(expression: str) -> None:
    with pytest.raises(ValueError, match="metric math"):
        metric_math(expression, {"m1": 1.0})


def test_statistics_are_those_of_the_distribution() -> None:
    values, minute = np.random.default_rng(0).normal(100, 20, 1000), Minute()
    minute.add({"Values": values.tolist()})
    assert statistic_of([minute], "SampleCount") == 1000
    assert statistic_of([minute], "Average") == pytest.approx(values.mean())
    assert statistic_of([minute], "p95") == pytest.approx(np.quantile(values, 0.95, method="inverted_cdf"))
    assert statistic_of([minute], "TC(:120)") == np.sum(values <= 120)
    assert statistic_of([minute], "TC(80:120)") == np.sum((values > 80) & (values <= 120))
    assert statistic_of([minute], "PR(120:)") == pytest.approx(np.mean(values > 120) * 100)


def test_a_statistic_set_has_no_percentile() -> None:
    minute = Minute()
    minute.add({"StatisticValues": {"SampleCount": 10, "Sum": 50, "Minimum": 1, "Maximum": 9}})
    assert statistic_of([minute], "Average") == 5 and statistic_of([minute], "p95") is None


def test_an_alarm_on_a_share_rings_and_ends(cloudwatch: Any) -> None:
    queries = [query("bad", "errors", "Sum"), query("all", "requests", "Sum")]
    alarm(cloudwatch, "share", "IF(FILL(bad, 0) >= 2, bad / all, 0)", queries)
    assert state(cloudwatch, "share") == ["OK"]
    put(cloudwatch, "requests", 5)
    put(cloudwatch, "errors", 1)
    assert state(cloudwatch, "share") == ["OK"]  # one failure among few
    put(cloudwatch, "errors", 1)
    assert state(cloudwatch, "share") == ["ALARM"]
    put(cloudwatch, "requests", 100)
    assert state(cloudwatch, "share") == ["OK"]


def test_what_is_older_than_the_window_does_not_count(cloudwatch: Any) -> None:
    alarm(cloudwatch, "window", "bad", [query("bad", "errors", "Sum")])
    put(cloudwatch, "errors", 9, ago_s=900)
    assert state(cloudwatch, "window") == ["OK"]
    put(cloudwatch, "errors", 9, ago_s=120)
    assert state(cloudwatch, "window") == ["ALARM"]


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [("notBreaching", "OK"), ("breaching", "ALARM"), ("missing", "INSUFFICIENT_DATA"), ("ignore", "INSUFFICIENT_DATA")],
)
def test_missing_data_is_treated_as_the_alarm_says(cloudwatch: Any, missing: str, wanted: str) -> None:
    alarm(cloudwatch, "quiet", "bad", [query("bad", "errors", "Sum")], TreatMissingData=missing)
    assert state(cloudwatch, "quiet") == [wanted]


def test_m_of_n_periods(cloudwatch: Any) -> None:
    queries = [query("bad", "errors", "Sum", 60)]
    alarm(cloudwatch, "some", "bad", queries, EvaluationPeriods=5, DatapointsToAlarm=3)
    for ago in (0, 120):
        put(cloudwatch, "errors", 1, ago_s=ago)
    assert state(cloudwatch, "some") == ["OK"]
    put(cloudwatch, "errors", 1, ago_s=180)
    assert state(cloudwatch, "some") == ["ALARM"]


def test_what_can_not_be_computed_has_no_state_and_says_why(cloudwatch: Any) -> None:
    alarm(cloudwatch, "band", "ANOMALY_DETECTION_BAND(bad, 2)", [query("bad", "errors", "Sum")])
    put(cloudwatch, "errors", 1)
    found = cloudwatch.describe_alarms(AlarmNames=["band"])["MetricAlarms"][0]
    assert found["StateValue"] == "INSUFFICIENT_DATA"


def plain(cloudwatch: Any, *names: str, **more: Any) -> None:
    for name in names:
        cloudwatch.put_metric_alarm(
            **{
                "AlarmName": name,
                "Namespace": "shop",
                "MetricName": name,
                "Statistic": "Maximum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": 0,
                "ComparisonOperator": "GreaterThanThreshold",
                **more,
            }
        )


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        # From https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
        ("ALARM(a) AND ALARM(b)", "OK"),
        ("ALARM(a) OR ALARM(b)", "ALARM"),
        ('ALARM("a") AND NOT ALARM("b")', "ALARM"),
        ("(ALARM('a') OR ALARM('b')) AND OK('b')", "ALARM"),
        ("NOT (ALARM(a) OR ALARM(b))", "OK"),
        ("ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:a)", "ALARM"),
        ("ALARM(a) AND ALARM(b) OR TRUE", "ALARM"),
        ("ALARM(a) AND FALSE", "OK"),
        ("INSUFFICIENT_DATA(c)", "ALARM"),
    ],
)
def test_composite_rules(cloudwatch: Any, rule: str, wanted: str) -> None:
    plain(cloudwatch, "a", "b", "c")
    put(cloudwatch, "a", 1)
    put(cloudwatch, "b", 0)
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule=rule)
    assert state(cloudwatch, "both") == [wanted]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("ALARM(nothing)", r"alarms \[nothing\] in the alarm rule do not exist"),
        ('ALARM("a") AND NOT', "is missing in"),
        ("(ALARM(a)", "a bracket is not closed"),
        ("ALARM(a) and ALARM(b)", "can't be read as a rule"),
        ("AT_LEAST(1, ALARM, (a, b))", "missing|can't be read"),
    ],
)
def test_a_wrong_rule_is_refused(cloudwatch: Any, rule: str, says: str) -> None:
    plain(cloudwatch, "a", "b")
    with pytest.raises(cloudwatch.exceptions.ClientError, match=says):
        cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule=rule)


def listening(name: str) -> tuple[str, int]:
    """A topic with one address, and how many mails there have been."""
    sns = boto3.client("sns", region_name="us-east-1")
    topic = sns.create_topic(Name=name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=f"{name}@example.org")
    return topic, len(mails())


def subjects(since: int) -> list[str]:
    return [each["subject"].partition(" in ")[0] for each in mails()[since:]]


def test_a_storm_is_one_mail_until_what_explains_it_ends(cloudwatch: Any) -> None:
    topic, before = listening("ops")
    own = "Groundplan/test"
    plain(cloudwatch, "long", "short", "slow", Namespace=own)
    told = {"AlarmActions": [topic], "OKActions": [topic]}
    cloudwatch.put_composite_alarm(AlarmName="page", AlarmRule="ALARM(long) AND ALARM(short)", **told)
    silenced = {"ActionsSuppressor": "page", "ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 60}
    for name in ("ticket", "other"):
        cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule="ALARM(slow)", **told, **silenced)
    data = [{"MetricName": name, "Value": 1.0} for name in ("long", "short", "slow")]
    for _ in range(5):
        cloudwatch.put_metric_data(Namespace=own, MetricData=data)
    assert state(cloudwatch, "page", "ticket", "other") == ["ALARM"] * 3
    assert subjects(before) == ['ALARM: "page"']
    mail = mails()[before]
    assert mail["to"] == "ops@example.org" and json.loads(mail["text"])["Region"] == "US East (N. Virginia)"
    put(cloudwatch, "short", 0, space=own)
    assert subjects(before)[1:] == ['OK: "page"', 'ALARM: "ticket"', 'ALARM: "other"']


def test_what_ends_while_it_is_silenced_is_never_told(cloudwatch: Any) -> None:
    topic, before = listening("quiet")
    own = "Groundplan/test"
    plain(cloudwatch, "outage", "slow", Namespace=own)
    told = {"AlarmActions": [topic], "OKActions": [topic], "AlarmRule": "ALARM(slow)"}
    cloudwatch.put_composite_alarm(AlarmName="late", ActionsSuppressor="outage", **told)
    for outage, slow in ((1, 0), (1, 1), (1, 0), (0, 0)):
        data = [{"MetricName": "outage", "Value": outage}, {"MetricName": "slow", "Value": slow}]
        cloudwatch.put_metric_data(Namespace=own, MetricData=data)
    assert subjects(before) == []


def test_one_that_is_made_while_its_cause_rings_tells_at_once(cloudwatch: Any) -> None:
    topic, before = listening("late")
    plain(cloudwatch, "cause")
    put(cloudwatch, "cause", 1)
    cloudwatch.put_composite_alarm(AlarmName="new", AlarmRule="ALARM(cause)", AlarmActions=[topic])
    assert subjects(before) == ['ALARM: "new"']


def test_a_state_that_is_set_holds_until_something_changes(cloudwatch: Any) -> None:
    plain(cloudwatch, "child", Namespace="Groundplan/test")
    cloudwatch.put_composite_alarm(AlarmName="drill", AlarmRule="ALARM(child)")
    cloudwatch.set_alarm_state(AlarmName="drill", StateValue="ALARM", StateReason="a drill")
    assert state(cloudwatch, "drill") == ["ALARM"]
    put(cloudwatch, "child", 0, space="Groundplan/test")
    assert state(cloudwatch, "drill") == ["OK"]


def test_since_when_it_rings_is_when_its_state_changed(cloudwatch: Any) -> None:
    plain(cloudwatch, "since")
    for _ in range(3):
        put(cloudwatch, "since", 1)
    found = cloudwatch.describe_alarms(AlarmNames=["since"])["MetricAlarms"][0]
    plain(cloudwatch, "since", AlarmDescription="changed")
    again = cloudwatch.describe_alarms(AlarmNames=["since"])["MetricAlarms"][0]
    assert again["StateTransitionedTimestamp"] == found["StateTransitionedTimestamp"]


def test_requests_within_a_period_are_added_up(cloudwatch: Any) -> None:
    """An alarm that is not the platform's: eight requests of one are eight."""
    plain(cloudwatch, "orders", Statistic="Sum", Threshold=5)
    for _ in range(8):
        put(cloudwatch, "orders", 1)
    assert state(cloudwatch, "orders") == ["ALARM"]
    plain(cloudwatch, "old")
    put(cloudwatch, "old", 1, ago_s=2 * 86_400)
    plain(cloudwatch, "heartbeat", TreatMissingData="breaching")
    assert state(cloudwatch, "old", "heartbeat") == ["INSUFFICIENT_DATA", "ALARM"]


def test_a_subscription_s_filter_and_form_count_for_mail(cloudwatch: Any) -> None:
    sns = boto3.client("sns", region_name="us-east-1")
    topic, before = listening("all")
    only = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="some@example.org", ReturnSubscriptionArn=True)
    sns.set_subscription_attributes(
        SubscriptionArn=only["SubscriptionArn"], AttributeName="FilterPolicy", AttributeValue='{"kind": ["big"]}'
    )
    message = json.dumps({"default": "d", "email": "for people"})
    sns.publish(TopicArn=topic, Message=message, MessageStructure="json")
    assert [(each["to"], each["text"]) for each in mails()[before:]] == [("all@example.org", "for people")]


def test_actions_that_are_switched_off_tell_nobody(cloudwatch: Any) -> None:
    sns = boto3.client("sns", region_name="us-east-1")
    topic = sns.create_topic(Name="off")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="off@example.org")
    plain(cloudwatch, "off", AlarmActions=[topic], ActionsEnabled=False)
    put(cloudwatch, "off", 1)
    assert state(cloudwatch, "off") == ["ALARM"] and not [each for each in mails() if each["to"] == "off@example.org"]


def test_an_update_leaves_the_state(cloudwatch: Any) -> None:
    plain(cloudwatch, "kept")
    put(cloudwatch, "kept", 1)
    plain(cloudwatch, "kept", AlarmDescription="now with a description")
    assert state(cloudwatch, "kept") == ["ALARM"]


def test_data_is_asked_for_with_distributions_and_math(cloudwatch: Any) -> None:
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    cloudwatch.put_metric_data(
        Namespace="shop",
        MetricData=[{"MetricName": "ms", "Timestamp": now, "Values": [10.0, 200.0], "Counts": [98.0, 2.0]}],
    )
    asked = [query("slow", "ms", "TC(100:)", 86_400), query("all", "ms", "SampleCount", 86_400)]
    asked.append({"Id": "share", "Expression": "slow / all", "ReturnData": True})
    found = cloudwatch.get_metric_data(
        MetricDataQueries=asked, StartTime=now - timedelta(days=3), EndTime=now + timedelta(days=1)
    )["MetricDataResults"]
    assert [(each["Id"], each["Values"]) for each in found] == [("share", [0.02])]
    assert found[0]["Timestamps"] == [now]


def test_each_query_has_its_own_period(cloudwatch: Any) -> None:
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    for minute in range(3):
        data = [
            {
                "MetricName": "n",
                "Timestamp": begin + timedelta(minutes=minute),
                "Values": [1.0, 9.0],
                "Counts": [1.0, 1.0],
            }
        ]
        cloudwatch.put_metric_data(Namespace="shop", MetricData=data)
    asked = [
        {**query("a", "n", "p50", 60), "ReturnData": True},
        {**query("b", "n", "SampleCount", 300), "ReturnData": True},
    ]
    found = cloudwatch.get_metric_data(MetricDataQueries=asked, StartTime=begin, EndTime=begin + timedelta(minutes=5))[
        "MetricDataResults"
    ]
    assert [each["Values"] for each in found] == [[1.0, 1.0, 1.0], [6.0]]


def test_data_that_can_not_be_computed_is_refused_in_words(cloudwatch: Any) -> None:
    now = datetime.now(UTC)
    asked = [query("m1", "n", "Sum"), {"Id": "e", "Expression": "RATE(m1)", "ReturnData": True}]
    with pytest.raises(cloudwatch.exceptions.ClientError, match="not computed here"):
        cloudwatch.get_metric_data(MetricDataQueries=asked, StartTime=now - timedelta(hours=1), EndTime=now)
