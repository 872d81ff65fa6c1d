"""Each check of a scan finds what is wrong, and nothing where all is well; its record is evidence."""

from __future__ import annotations

import datetime
import http.server
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from groundplan.review.penetration_tests import judge
from groundplan.scan.api import api, with_bodies
from groundplan.scan.findings import Checked, Flaw
from groundplan.scan.packages import packages
from groundplan.scan.run import CHECKS, Scanned, record
from groundplan.scan.secrets import BASELINE, secrets
from groundplan.scan.web import headers, tls

PAGE = "https://page.example"
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(answer: Callable[[str, str, dict[str, str], bytes], Answer], context: Any = None) -> Iterator[str]:
    """A server that answers by a function of method, path, headers and body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version, sys_version = "web", ""

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            given = {name.lower(): value for name, value in self.headers.items()}
            status, told, text = answer(self.command, self.path, given, body)
            self.send_response(status)
            for name, value in {"content-length": str(len(text)), **told}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else text)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_one
            raise AttributeError(name)

        def log_message(self, *_: Any) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        made.server_close()


def said(check: Checked) -> list[tuple[str, str]]:
    return [(flaw.severity, flaw.says) for flaw in check.flaws]


# Secrets.

KEY = "AKIA" + "QWERTZUIOPASDFGH"


def tree(root: Path, **files: str) -> Path:
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_secrets_are_found_where_git_would_keep_them(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        **{
            "settings.py": f'region = "eu-central-1"\nid = "{KEY}"\n',
            "key.pem": "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\n",
            "notes.md": "Nothing here.\n",
            ".env": f'id = "{KEY}"\n',
            ".gitignore": ".env\n",
        },
    )
    found = secrets(root)
    assert [(flaw.severity, flaw.where) for flaw in found.flaws] == [
        ("critical", "key.pem:1"),
        ("critical", "settings.py:2"),
    ]
    assert found.made and "4 files" in found.did and KEY not in json.dumps(said(found)), "it is not told itself"


def test_what_was_looked_at_and_is_none_is_not_told_again(tmp_path: Path) -> None:
    root = tree(tmp_path, **{"settings.py": f'id = "{KEY}"\n'})
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    command = [str(Path(sys.executable).parent / "detect-secrets"), "scan"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    (root / BASELINE).write_text(done.stdout, encoding="utf-8")
    assert secrets(root).flaws == ()
    known = json.loads(done.stdout)
    known["results"]["settings.py"][0]["is_secret"] = True
    (root / BASELINE).write_text(json.dumps(known), encoding="utf-8")
    assert len(secrets(root).flaws) == 1, "people said that it is one"


def test_without_git_every_file_that_is_not_hidden_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f'id = "{KEY}"\n', encoding="utf-8")
    assert [flaw.where for flaw in secrets(tmp_path).flaws] == ["a.py:1"]


# Packages.


def osv(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
    """As https://google.github.io/osv.dev/post-v1-query/ answers."""
    asked = json.loads(body)
    found: dict[str, Any] = {}
    if asked["package"]["name"] == "requests" and asked["version"] == "2.19.0":
        events = [{"introduced": "0"}, {"fixed": "2.20.0"}]
        package = {"name": "requests", "ecosystem": "PyPI"}
        affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        vulnerability = {"id": "PYSEC-2018-28", "aliases": ["CVE-2018-18074"], "details": "x", "affected": [affected]}
        found = {"vulns": [{**vulnerability, "modified": "2023-01-01T00:00:00Z", "published": "2018-10-09T00:00:00Z"}]}
    return 200, {"content-type": "application/json"}, json.dumps(found).encode()


def test_a_vulnerable_package_is_told_with_the_version_that_is_fixed(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("requests==2.19.0\nidna==3.11\n", encoding="utf-8")
    (tmp_path / "models" / "risk").mkdir(parents=True)
    (tmp_path / "models" / "risk" / "requirements.txt").write_text("requests==2.32.0\n", encoding="utf-8")
    with server(osv) as url:
        found = packages(tmp_path, f"{url}/v1/query")
    assert found.made and "2 packages of requirements.lock, models/risk/requirements.txt" in found.did
    (flaw,) = found.flaws
    assert flaw.where == "requests 2.19.0 (requirements.lock)" and "CVE-2018-18074" in flaw.says
    assert flaw.fix == "lock requests>=2.20.0 (`make lock`)"


def test_packages_that_nobody_could_be_asked_about_are_not_called_safe(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("requests==2.19.0\n", encoding="utf-8")
    found = packages(tmp_path, "http://127.0.0.1:9/v1/query")
    assert not found.made and "can't be asked" in found.did and found.flaws == ()


# Headers and TLS.


def closed(method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
    if method == "OPTIONS":
        return 204, {"access-control-allow-origin": PAGE}, b""
    return (405 if method == "TRACE" else 401), {}, b"{}"


def test_an_interface_that_is_closed_has_nothing_to_fix() -> None:
    with server(closed) as url:
        assert headers(url, "/m/invocations", PAGE).flaws == ()


def test_an_open_interface_is_told_what_is_wrong() -> None:
    def careless(_method: str, _path: str, given: dict[str, str], _body: bytes) -> Answer:
        told = {
            "access-control-allow-origin": given.get("origin", "*"),
            "x-powered-by": "PHP/5",
            "set-cookie": "id=1; Secure",
        }
        return 200, told, b"{}"

    with server(careless) as url:
        found = headers(url, "/m/invocations", PAGE)
    assert ("critical", "answers 200 without a token") in said(found)
    assert any(severity == "high" and "any origin" in says for severity, says in said(found))
    assert ("medium", "sets a cookie without httponly, samesite") in said(found)
    assert ("low", "says what it runs on (x-powered-by: PHP/5)") in said(found) and found.open == 4
    with server(careless) as url:
        gone = url
    assert not headers(gone, "/m", PAGE).made


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=5))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_protocols_and_a_certificate_of_nobody_are_told(certificate: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(certificate)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    with server(closed, old) as url:
        found = tls(url)
    assert [flaw.severity for flaw in found.flaws] == ["critical", "high", "high"]
    assert "certificate" in found.flaws[0].says and "TLS 1.1" in found.flaws[2].says
    new = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    new.load_cert_chain(certificate)
    with server(closed, new) as url:
        assert len(tls(url).flaws) == 1, "the certificate"
    assert not tls("http://127.0.0.1:1").made


# The interface.

DOCUMENT = {
    "openapi": "3.0.1",
    "info": {"title": "t", "version": "1"},
    "paths": {
        "/m/invocations": {
            "post": {
                "responses": {"200": {"description": ""}, "400": {"description": ""}},
                "security": [{"people": []}],
                "x-amazon-apigateway-integration": {"uri": "arn"},
            }
        }
    },
    "components": {"securitySchemes": {"people": {"in": "header", "name": "Authorization", "type": "apiKey"}}},
}


def strict(method: str, _path: str, given: dict[str, str], _body: bytes) -> Answer:
    if method != "POST":
        return 405, {"allow": "POST"}, b"{}"
    return (400 if given.get("authorization") == "token" else 401), {"content-type": "application/json"}, b"{}"


def test_an_interface_that_refuses_what_is_wrong_has_nothing_to_fix() -> None:
    with server(strict) as url:
        found = api(with_bodies(DOCUMENT), url, "token", seed=1)
    assert found.flaws == () and found.made and "with a token" in found.did
    assert int(found.did.split(" ")[0]) >= 25


def test_an_interface_that_asks_for_no_token_or_fails_is_told() -> None:
    def careless(method: str, path: str, given: dict[str, str], body: bytes) -> Answer:
        if method == "POST" and b"dataframe_records" not in body:
            return 500, {"content-type": "application/json"}, b"{}"
        return strict(method, path, {**given, "authorization": "token"}, body)

    def trusting(method: str, _path: str, _given: dict[str, str], _body: bytes) -> Answer:
        return (200 if method == "POST" else 405), {"content-type": "application/json", "allow": "POST"}, b"{}"

    with server(careless) as url:
        failing = api(with_bodies(DOCUMENT), url, "token", seed=1)
    assert ("high", "POST /m/invocations") in {(flaw.severity, flaw.where) for flaw in failing.flaws}
    with server(trusting) as url:
        opened = api(with_bodies(DOCUMENT), url, "token", seed=1)
    assert "critical" in {flaw.severity for flaw in opened.flaws}, said(opened)
    assert "medium" in {flaw.severity for flaw in opened.flaws}, "wrong data is taken"


def test_who_does_not_answer_was_not_looked_at() -> None:
    found = api(with_bodies(DOCUMENT), "http://127.0.0.1:9", "", seed=1)
    assert not found.made and found.flaws == ()


# The record.

TODAY = datetime.date(2026, 12, 1)
PROD = {"environment": "production", "compliance": ["gdpr"]}


def scanned(*lacking: str, flaws: int = 0) -> Scanned:
    flaw = Flaw("high", "a", "b", "c")
    checks = [Checked(name, "", made=name not in lacking) for name in CHECKS]
    checks[0] = Checked(CHECKS[0], "", made=CHECKS[0] not in lacking, flaws=(flaw,) * flaws)
    return Scanned("prod", f"{TODAY}T04:00:00+00:00", "https://x", tuple(checks))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (scanned(), ""),
        (scanned("tls", "api"), "has not looked at tls, api"),
        (scanned(flaws=2), "has 2 findings that are not fixed"),
    ],
)
def test_a_complete_scan_without_findings_is_evidence_for_a_quarter(found: Scanned, says: str, tmp_path: Path) -> None:
    evidence = record(tmp_path, found)
    findings, files = judge(tmp_path, PROD, "prod", TODAY + datetime.timedelta(days=30))
    assert (says in findings[0].message and not files) if says else (not findings)
    if not says:
        assert files == (str(evidence.relative_to(tmp_path)),)
        assert json.loads((tmp_path / "evidence/penetration-tests/2026-12-01-prod-scan.json").read_text())["open"] == 0
        assert judge(tmp_path, PROD, "prod", TODAY + datetime.timedelta(days=100))[0], "a quarter is over"


def test_a_scan_that_lacks_something_does_not_hide_a_test_that_people_made(tmp_path: Path) -> None:
    evidence = record(tmp_path, scanned("api"))
    (evidence.parent / "2026-11-20.yaml").write_text(
        "stack: prod\ndate: 2026-11-20\nby: Example Security\nreport: https://reports.example.com\nopen: 0\n",
        encoding="utf-8",
    )
    findings, files = judge(tmp_path, PROD, "prod", TODAY)
    assert not findings and files == ("evidence/penetration-tests/2026-11-20.yaml",)
