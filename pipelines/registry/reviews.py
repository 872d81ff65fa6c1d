"""People who have reviewed a deployment on GitHub or GitLab: their review can stand for an approval.

The CI job that passed the review signs, in the approving role. Who has reviewed it is asked of the service, not told by
the job:
https://docs.github.com/en/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run,
https://docs.gitlab.com/api/deployments/#retrieve-a-specific-deployment
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pipelines.registry.decisions import Person
from spec.errors import GroundplanError, UsageError

_TIMEOUT_S = 30


def reviewer(environment: str, role: str, commit: str, variables: Mapping[str, str]) -> tuple[Person, str]:
    """Who has approved this job's deployment to an environment, and their comment.

    Args:
        environment: Its name ends with the role, so that a review of something else can't stand for it.
        commit: Of the model's code; whoever wrote it can't approve it.
        variables: The job's environment variables. GitHub's job needs ``GITHUB_TOKEN`` (permission ``actions: read``),
            GitLab's ``GITLAB_TOKEN`` (scope ``read_api``).

    Raises:
        UsageError: This is not such a job, or it has no token.
        GroundplanError: Nobody has reviewed it, or only those who started or wrote it.
    """
    if not (environment == role or environment.endswith((f"-{role}", f"/{role}"))):
        raise UsageError(
            f"a review of {environment!r} says nothing about {role}",
            where="--review",
            fix=f"name an environment whose name ends with -{role}",
        )
    if variables.get("GITHUB_ACTIONS") == "true":
        return _on_github(environment, commit.removesuffix("-dirty"), variables)
    if variables.get("GITLAB_CI") == "true":
        return _on_gitlab(environment, commit.removesuffix("-dirty"), variables)
    raise UsageError(
        "this is not a job of GitHub Actions or GitLab CI",
        where="--review",
        fix="leave it out, and approve in your own name",
    )


def _on_github(environment: str, commit: str, variables: Mapping[str, str]) -> tuple[Person, str]:
    ask = _client(variables["GITHUB_API_URL"], {"Authorization": f"Bearer {_token(variables, 'GITHUB_TOKEN')}"})
    repository, number = variables["GITHUB_REPOSITORY"], variables["GITHUB_RUN_ID"]
    run = f"/repos/{repository}/actions/runs/{number}"
    reviews = [
        (item["user"]["login"], item.get("comment") or "", item["state"] == "approved")
        for item in ask(f"{run}/approvals")
        if environment in [each["name"] for each in item["environments"]]
    ]
    started = ask(run)
    written = [ask(f"/repos/{repository}/commits/{sha}") for sha in {started["head_sha"], commit}]
    people = [started.get("actor"), started.get("triggering_actor"), *(each.get("author") for each in written)]
    own = {person["login"] for person in people if person}
    return _chosen(reviews, own, environment, f"github:{repository}/actions/runs/{number}")


def _on_gitlab(environment: str, commit: str, variables: Mapping[str, str]) -> tuple[Person, str]:
    ask = _client(variables["CI_API_V4_URL"], {"PRIVATE-TOKEN": _token(variables, "GITLAB_TOKEN")})
    project, job = f"/projects/{variables['CI_PROJECT_ID']}", int(variables["CI_JOB_ID"])
    listed = ask(f"{project}/deployments?environment={quote(environment, safe='')}&order_by=id&sort=desc&per_page=50")
    found = next((item for item in listed if (item.get("deployable") or {}).get("id") == job), None)
    if found is None:
        raise UsageError(
            f"this job deploys nothing to {environment!r}",
            where="--review",
            fix=f"give it `environment: {environment}`, a protected environment with required approvals",
        )
    approvals = ask(f"{project}/deployments/{found['id']}").get("approvals", [])
    reviews = [
        (item["user"]["username"], item.get("comment") or "", item["status"] == "approved") for item in approvals
    ]
    written = ask(f"{project}/repository/commits/{commit}")
    own = {(found.get("user") or {}).get("username", "")}
    people = {each["user"]["username"]: each["user"].get("name", "") for each in approvals if each.get("user")}
    own |= {username for username, name in people.items() if name and name == written.get("author_name")}
    place = f"gitlab:{variables['CI_PROJECT_PATH']}/jobs/{job}"
    return _chosen(reviews, own, environment, place)


def _chosen(reviews: list[tuple[str, str, bool]], own: set[str], environment: str, place: str) -> tuple[Person, str]:
    if refused := [(name, comment) for name, comment, good in reviews if not good]:
        name, comment = refused[-1]
        raise GroundplanError(
            f"{name} has rejected this job's deployment to {environment!r}{f': {comment}' if comment else ''}",
            where=place,
            fix="start a new run once that is settled",
        )
    approved = [(name, comment) for name, comment, good in reviews if good]
    if not approved:
        raise GroundplanError(
            f"nobody has approved this job's deployment to {environment!r}",
            where=place,
            fix="protect the environment with required reviewers; an unprotected one approves nothing",
        )
    others = [(name, comment) for name, comment in approved if name not in own]
    if not others:
        raise GroundplanError(
            f"{approved[0][0]} approved their own deployment to {environment!r}",
            where=place,
            fix="forbid self-reviews in the environment's settings",
        )
    name, comment = others[-1]
    return Person(name.lower(), place), comment


def _token(variables: Mapping[str, str], name: str) -> str:
    if not variables.get(name):
        raise UsageError("without a token nobody can be asked who has reviewed the job", where=name, fix="set it")
    return variables[name]


def _client(base: str, headers: dict[str, str]) -> Any:
    import httpx

    def ask(path: str) -> Any:
        try:
            answer = httpx.get(f"{base.rstrip('/')}{path}", headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise GroundplanError(f"no answer ({type(error).__name__})", where=base) from None
        if answer.status_code != 200:
            needs = " (the token may not read it)" if answer.status_code in (401, 403, 404) else ""
            raise GroundplanError(f"answered {answer.status_code}{needs}", where=f"{base}{path}")
        return answer.json()

    return ask
