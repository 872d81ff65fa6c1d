"""A scan of a project and of what its stack shows to the web, and the dated record of it."""

from __future__ import annotations

import json
import secrets as randomness
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from groundplan.local.auditing import reading
from groundplan.local.home import find_home
from groundplan.review.penetration_tests import FOLDER
from groundplan.scan.api import api, with_bodies
from groundplan.scan.findings import SEVERITIES, Checked
from groundplan.scan.packages import image, packages
from groundplan.scan.secrets import secrets
from groundplan.scan.web import headers, tls
from spec.errors import GroundplanError, UsageError
from spec.outputs import LOCAL, Outputs

CALLER = "person.scan"
OF_FILES, OF_STACK = ("secrets", "packages"), ("image", "headers", "tls", "api")
CHECKS = (*OF_FILES, *OF_STACK)


@dataclass(frozen=True)
class Scanned:
    """What a scan has found.

    Attributes:
        at: When it began, ISO 8601, UTC.
        url: The interface that was asked; empty for none.
    """

    stack: str
    at: str
    url: str
    checks: tuple[Checked, ...]

    @property
    def open(self) -> int:
        """Findings that must be fixed."""
        return sum(check.open for check in self.checks)

    @property
    def not_made(self) -> list[str]:
        """Checks that were not made in full, or not asked for."""
        made = {check.name for check in self.checks if check.made}
        return [name for name in CHECKS if name not in made]

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "stack": self.stack,
            "at": self.at,
            "url": self.url,
            "open": self.open,
            "not_made": self.not_made,
            "checks": [{**asdict(check), "open": check.open} for check in self.checks],
        }


def scan(outputs: str, only: Collection[str], token: str, osv_url: str) -> Scanned:
    """Make the checks.

    Args:
        only: Their names; empty for all.
        token: An ID token of the sign-in, with which requests reach the models.

    Raises:
        UsageError: There is no such check.
    """
    if wrong := sorted(set(only) - set(CHECKS)):
        raise UsageError(f"no check {', '.join(wrong)}", where="--only", fix=f"checks: {', '.join(CHECKS)}")
    at, root = datetime.now(UTC), find_home().root
    wanted = [name for name in CHECKS if name in only or not only]
    found: list[Checked] = []
    if "secrets" in wanted:
        found.append(secrets(root))
    if "packages" in wanted:
        found.append(packages(root, osv_url))
    of_stack, stack, url = [name for name in wanted if name in OF_STACK], "", ""
    if of_stack:
        try:
            with reading(outputs, CALLER) as context:
                stack = context.outputs.stack
                url, checks = _of_stack(context.outputs, of_stack, token, at.date().toordinal())
                found += checks
        except UsageError as error:
            if outputs:
                raise
            found += [Checked(name, f"{error.what}; `make up` starts it", made=False) for name in of_stack]
    ranked = [_ranked(check) for check in found]
    return Scanned(stack or LOCAL, at.isoformat(timespec="seconds"), url, tuple(ranked))


def _ranked(check: Checked) -> Checked:
    flaws = sorted(check.flaws, key=lambda flaw: (SEVERITIES.index(flaw.severity), flaw.where))
    return Checked(check.name, check.did, check.made, tuple(flaws))


def _of_stack(of: Outputs, wanted: list[str], token: str, seed: int) -> tuple[str, list[Checked]]:
    local = of.stack == LOCAL
    found = [image(of, local)] if "image" in wanted else []
    asked = [name for name in wanted if name != "image"]
    if of.front_end is None:
        says = "the stack has no interface for pages (front_end), and nothing of it is public"
        return "", [*found, *(Checked(name, says) for name in asked)]
    url = _address(of) if local else of.front_end.url
    document = _document(of) if {"headers", "api"} & set(asked) else {}
    path = next((path for path, of_path in document.get("paths", {}).items() if "post" in of_path), "")
    if "headers" in asked:
        origin = _origin(document)
        found.append(headers(url, path, origin))
    if "tls" in asked:
        found.append(tls(url))
    if "api" in asked:
        with _token(of, token, local) as used:
            found.append(api(with_bodies(document), url, used, seed))
    return url, found


def _address(of: Outputs) -> str:
    from groundplan.local.inside import running
    from groundplan.local.web.addresses import front_end

    router = running(find_home()).services["router"].url
    return front_end({"front_end": of.model_dump()["front_end"]}, router)["url"]


def _document(of: Outputs) -> dict[str, Any]:
    """The interface as it is deployed."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    assert of.front_end is not None
    address = urlsplit(of.front_end.url)
    try:
        answer = boto3.client("apigateway").get_export(
            restApiId=(address.hostname or "").partition(".")[0],
            stageName=address.path.strip("/"),
            exportType="oas30",
            parameters={"extensions": "apigateway"},
            accepts="application/json",
        )
    except (BotoCoreError, ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
        raise GroundplanError(
            f"API Gateway does not export the interface ({code})", fix="use the role `operations` of the stack"
        ) from None
    found: dict[str, Any] = json.loads(answer["body"].read())
    return found


def _origin(document: dict[str, Any]) -> str:
    """The page that may call, as the interface's answer to a preflight names it."""
    name = "method.response.header.Access-Control-Allow-Origin"
    for operations in document.get("paths", {}).values():
        integration = operations.get("options", {}).get("x-amazon-apigateway-integration", {})
        for answer in integration.get("responses", {}).values():
            if allowed := answer.get("responseParameters", {}).get(name):
                return str(allowed).strip("'")
    return "https://page.example"


@contextmanager
def _token(of: Outputs, given: str, local: bool) -> Iterator[str]:
    """The token that was given; on this machine that of a person who exists for the scan only."""
    if given or not local:
        yield given
        return
    import boto3

    from groundplan.local.inside import running
    from groundplan.local.moto.aws import ACCESS_KEY, SECRET_KEY

    assert of.front_end is not None
    # Not as whoever scans: on AWS nobody makes up a person for it.
    session = boto3.Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=of.region)
    cognito = session.client("cognito-idp", endpoint_url=running(find_home()).services["aws"].url)
    pool = of.front_end.user_pool_id
    who, password = f"scan-{randomness.token_hex(4)}@example.com", randomness.token_urlsafe(24) + "aA1!"
    cognito.admin_create_user(UserPoolId=pool, Username=who)
    try:
        cognito.admin_set_user_password(UserPoolId=pool, Username=who, Password=password, Permanent=True)
        answer = cognito.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=of.front_end.client_id,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": who, "PASSWORD": password},
        )
        yield answer["AuthenticationResult"]["IdToken"]
    finally:
        cognito.admin_delete_user(UserPoolId=pool, Username=who)


def record(root: Path, found: Scanned) -> Path:
    """Write the evidence that ``groundplan compliance`` reads, and the report that it names; returns the evidence."""
    from importlib.metadata import version

    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{found.at[:10]}-{found.stack}-scan"
    report = folder / f"{name}.json"
    report.write_text(json.dumps(found.document(), indent=1) + "\n", encoding="utf-8")
    evidence = folder / f"{name}.yaml"
    evidence.write_text(
        f"stack: {found.stack}\ndate: {found.at[:10]}\nby: groundplan scan {version('groundplan')}\n"
        f"report: {report.relative_to(root)}\nopen: {found.open}\nnot_made: [{', '.join(found.not_made)}]\n",
        encoding="utf-8",
    )
    return evidence
