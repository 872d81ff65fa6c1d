"""Reviews of deployments on GitHub and GitLab, in the documented form of their answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipelines.registry.reviews import reviewer
from spec.errors import GroundplanError, UsageError

ANSWERS: dict[str, Any] = {}
ENVIRONMENT = "prod-operations"


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = (self.headers["Authorization"], self.headers["PRIVATE-TOKEN"])
        status = 200 if self.path in ANSWERS and known in (("Bearer t", None), (None, "t")) else 404
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWERS.get(self.path, {"message": "Not Found"})).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ANSWERS.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def on_github(service: str, reviews: list[dict[str, Any]], author: dict[str, Any] | None) -> dict[str, str]:
    ANSWERS["/repos/acme/models/actions/runs/7/approvals"] = reviews
    ANSWERS["/repos/acme/models/actions/runs/7"] = {
        "head_sha": "c0ffee",
        "actor": {"login": "Starter"},
        "triggering_actor": {"login": "Rerunner"},
    }
    ANSWERS["/repos/acme/models/commits/c0ffee"] = {"author": None}
    ANSWERS["/repos/acme/models/commits/c0de"] = {"author": author}
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": service,
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_RUN_ID": "7",
        "GITHUB_TOKEN": "t",
    }


def review(
    who: str, environment: str = "prod-operations", state: str = "approved", comment: str | None = "ok"
) -> dict[str, Any]:
    return {"state": state, "comment": comment, "environments": [{"name": environment}], "user": {"login": who}}


def test_a_review_on_github_is_a_person_who_is_not_the_author(service: str) -> None:
    reviews = [review("Starter"), review("Author"), review("Ben", comment=None), review("Eve", "other")]
    person, comment = reviewer(ENVIRONMENT, "operations", "c0de", on_github(service, reviews, {"login": "Author"}))
    assert (person.name, comment) == ("ben", "") and person.through == "github:acme/models/actions/runs/7"


@pytest.mark.parametrize(
    ("reviews", "says"),
    [
        ([], "nobody has approved this job's deployment to 'prod-operations'"),
        ([review("Ben", "other")], "nobody has approved"),
        ([review("Ben", state="rejected")], "Ben has rejected this job's deployment to 'prod-operations': ok"),
        ([review("Eve"), review("Ben", state="rejected", comment=None)], "Ben has rejected"),
        ([review("Starter")], "Starter approved their own deployment"),
        ([review("Rerunner"), review("Author")], "Rerunner approved their own deployment"),
    ],
)
def test_what_is_no_review_on_github_approves_nothing(service: str, reviews: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(GroundplanError, match=says):
        reviewer(ENVIRONMENT, "operations", "c0de", on_github(service, reviews, {"login": "Author"}))


def test_a_commit_of_nobody_on_github_is_no_obstacle(service: str) -> None:
    assert reviewer(ENVIRONMENT, "operations", "c0de", on_github(service, [review("Ben")], None))[0].name == "ben"


def test_a_token_that_may_not_ask_says_so(service: str) -> None:
    variables = on_github(service, [review("Ben")], None)
    with pytest.raises(GroundplanError, match=r"approvals: answered 404 \(the token may not read it\)"):
        reviewer(ENVIRONMENT, "operations", "c0de", {**variables, "GITHUB_TOKEN": "wrong"})
    with pytest.raises(UsageError, match="GITHUB_TOKEN: without a token"):
        reviewer(ENVIRONMENT, "operations", "c0de", {**variables, "GITHUB_TOKEN": ""})
    with pytest.raises(GroundplanError, match=r"no answer \(ConnectError\)"):
        reviewer(ENVIRONMENT, "operations", "c0de", {**variables, "GITHUB_API_URL": "http://127.0.0.1:1"})


def on_gitlab(service: str, approvals: list[dict[str, Any]]) -> dict[str, str]:
    listed = "/projects/5/deployments?environment=prod%2Foperations&order_by=id&sort=desc&per_page=50"
    ANSWERS[listed] = [
        {"id": 9, "deployable": {"id": 70}},
        {"id": 8, "deployable": {"id": 71}, "user": {"username": "eve"}},
    ]
    ANSWERS["/projects/5/deployments/8"] = {"id": 8, "approvals": approvals}
    ANSWERS["/projects/5/repository/commits/c0de"] = {"author_name": "Kim Author", "author_email": "kim@example.com"}
    return {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": service,
        "CI_PROJECT_ID": "5",
        "CI_PROJECT_PATH": "acme/models",
        "CI_JOB_ID": "71",
        "GITLAB_TOKEN": "t",
    }


def test_an_approval_on_gitlab_is_of_this_job_and_of_somebody_else(service: str) -> None:
    given = [
        {"user": {"username": "eve"}, "status": "approved", "comment": "mine"},
        {"user": {"username": "ben"}, "status": "approved", "comment": "looks fine"},
    ]
    person, comment = reviewer("prod/operations", "operations", "c0de-dirty", on_gitlab(service, given))
    assert (person.name, comment, person.through) == ("ben", "looks fine", "gitlab:acme/models/jobs/71")
    for approvals, says in (([], "nobody has approved"), (given[:1], "eve approved their own deployment")):
        with pytest.raises(GroundplanError, match=says):
            reviewer("prod/operations", "operations", "c0de-dirty", on_gitlab(service, approvals))
    with pytest.raises(UsageError, match="this job deploys nothing to 'prod/operations'"):
        reviewer("prod/operations", "operations", "c0de", {**on_gitlab(service, given), "CI_JOB_ID": "72"})


def test_whoever_wrote_the_code_approves_nothing_on_gitlab(service: str) -> None:
    own = [{"user": {"username": "kim", "name": "Kim Author"}, "status": "approved"}]
    with pytest.raises(GroundplanError, match="kim approved their own deployment"):
        reviewer("prod/operations", "operations", "c0de", on_gitlab(service, own))


@pytest.mark.parametrize("environment", ["docs-preview", "operations-docs", "prod", "prodoperations"])
def test_a_review_of_something_else_says_nothing(service: str, environment: str) -> None:
    variables = on_github(service, [review("Ben", environment)], None)
    with pytest.raises(UsageError, match=rf"a review of '{environment}' says nothing about operations"):
        reviewer(environment, "operations", "c0de", variables)


def test_at_a_terminal_there_is_no_review() -> None:
    with pytest.raises(UsageError, match="not a job of GitHub Actions or GitLab CI"):
        reviewer(ENVIRONMENT, "operations", "c0de", {})
