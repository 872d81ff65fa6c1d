"""The cluster's rules as Prometheus takes them: promtool checks them, and runs them over series to see what rings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.operations.rules import alerts
from spec.objectives import Availability
from spec.on_cluster import REQUEST, REQUEST_BUCKETS
from spec.service_levels import service_levels
from tests.engine.conftest import PATH
from tests.unit.spec.test_service_levels import objectives

PROMTOOL = shutil.which("promtool", path=PATH) or ""
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not PROMTOOL, reason="promtool is not on the PATH; `make pulumi` builds it"),
]
SERVICE = 'serving_knative_dev_service="risk-predictor",http_response_status_code='
PAGE, TICKET = "AvailabilityBudgetPage", "AvailabilityBudgetTicket"


def rules(folder: Path, **more: Any) -> Path:
    model = objectives(requests_per_second={"average": 1, "peak": 5}, **more)
    levels = service_levels(model, Availability.MULTI_ZONE, "cluster", reads_features=False)
    path = folder / "rules.yaml"
    path.write_text(json.dumps(alerts({"risk": levels})), encoding="utf-8")
    return path


def rings(folder: Path, series: dict[str, str], *asked: tuple[str, str, bool]) -> None:
    """Run the rules over a minute's samples each; ``asked`` are a moment, an alert, and whether it rings then."""
    tests = {
        "rule_files": [str(rules(folder))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",model="risk",alertstate="firing"}}) or vector(0)',
                        "eval_time": moment,
                        "exp_samples": [{"labels": "{}", "value": int(wanted)}],
                    }
                    for moment, alert, wanted in asked
                ],
            }
        ],
    }
    path = folder / "tests.yaml"
    path.write_text(json.dumps(tests), encoding="utf-8")
    done = subprocess.run([PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROMTOOL, "check", "rules", "--lint=all", str(rules(tmp_path))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_an_outage_pages_within_minutes_and_ends(tmp_path: Path) -> None:
    rings(
        tmp_path,
        {
            f'{REQUEST}_count{{{SERVICE}"200"}}': "0+60x120 7200+30x10 7500+60x120",
            f'{REQUEST}_count{{{SERVICE}"503"}}': "0x120 0+30x10 300x120",
        },
        ("2h", PAGE, False),
        ("2h10m", PAGE, True),
        ("2h45m", PAGE, False),
        ("2h45m", TICKET, True),
    )


def test_what_has_never_failed_rings_nobody(tmp_path: Path) -> None:
    rings(tmp_path, {f'{REQUEST}_count{{{SERVICE}"200"}}': "0+60x600"}, ("9h", PAGE, False), ("9h", TICKET, False))


def test_one_failure_among_few_requests_rings_nobody(tmp_path: Path) -> None:
    rings(
        tmp_path,
        {
            f'{REQUEST}_count{{{SERVICE}"200"}}': "0+1x600",
            f'{REQUEST}_count{{{SERVICE}"500"}}': "0x300 1x300",
        },
        ("5h5m", PAGE, False),
        ("9h", TICKET, False),
    )


def test_a_slow_burn_is_a_ticket(tmp_path: Path) -> None:
    """Twice as many errors as promised."""
    rings(
        tmp_path,
        {
            f'{REQUEST}_count{{{SERVICE}"200"}}': "0+998x720",
            f'{REQUEST}_count{{{SERVICE}"500"}}': "0+2x720",
        },
        ("11h", PAGE, False),
        ("11h", TICKET, True),
    )


def test_slow_answers_page_by_the_buckets(tmp_path: Path) -> None:
    """Promised are 80 ms, which is between two buckets."""
    service = SERVICE.rpartition(",")[0]

    def buckets(a_minute: dict[float, int]) -> dict[str, str]:
        found, total = {}, 0
        for end in REQUEST_BUCKETS:
            total += a_minute.get(end, 0)
            found[f'{REQUEST}_bucket{{{service},le="{end:g}"}}'] = f"0+{total}x200"
        return {**found, f"{REQUEST}_count{{{service}}}": f"0+{total}x200"}

    rings(tmp_path, buckets({0.05: 60}), ("3h", "LatencyBudgetPage", False))
    rings(tmp_path, buckets({0.05: 10, 0.25: 50}), ("3h", "LatencyBudgetPage", True))


def test_failed_trainings_are_counted_by_their_jobs(tmp_path: Path) -> None:
    def job(name: str, how: str, begin: int, minutes: int = 11_000) -> dict[str, str]:
        of = f'namespace="pipelines",job_name="retrain-risk-{name}"'
        gap = f"_x{begin} " if begin else ""
        return {
            f"kube_job_status_start_time{{{of}}}": f"{gap}{begin * 60}x{minutes}",
            f'kube_job_{how}{{{of},condition="true"}}': f"{gap}1x{minutes}",
        }

    days = [1440 * day for day in range(5)]
    good = {**job("1", "complete", days[0]), **job("2", "failed", days[1]), **job("3", "complete", days[2])}
    rings(tmp_path, good, ("3d", "TrainingBudgetTicket", False))
    bad = {**good, **job("4", "failed", days[3]), **job("5", "failed", days[4])}
    rings(tmp_path, bad, ("4d1h", "TrainingBudgetTicket", True))
