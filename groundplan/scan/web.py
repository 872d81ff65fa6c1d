"""What a stack shows to the web: the headers of its answers, and its TLS.

https://owasp.org/www-project-secure-headers/, RFC 9325 (TLS).
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx

from groundplan.scan.findings import Checked, Flaw

TIMEOUT_S = 15.0
SHORTEST_HSTS_S = 15_552_000  # half a year
EXPIRES_DAYS = 21
_HEADERS = "https://owasp.org/www-project-secure-headers/"
_TLS = "https://www.rfc-editor.org/rfc/rfc9325"


def headers(url: str, path: str, origin: str) -> Checked:
    """Ask without a token, as a foreign page, and with an unusual method; look at the answers' headers.

    Args:
        path: Of a model, below ``url``.
        origin: Of the page that may call.
    """
    foreign = "https://attacker.example"
    flaws: list[Flaw] = []
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            plain = client.post(url + path, json={}, headers={"origin": origin})
            preflight = {"origin": foreign, "access-control-request-method": "POST"}
            asked = client.options(url + path, headers=preflight)
            traced = client.request("TRACE", url + path)
    except httpx.HTTPError as error:
        return Checked("headers", f"{url} does not answer ({type(error).__name__})", made=False)

    def flaw(severity: str, says: str, fix: str) -> None:
        flaws.append(Flaw(severity, url + path, says, fix, _HEADERS))

    if plain.status_code < 400:
        flaw("critical", f"answers {plain.status_code} without a token", "require a sign-in for every path")
    allowed = asked.headers.get("access-control-allow-origin", "")
    if allowed in ("*", foreign):
        says = f"pages of any origin may call (access-control-allow-origin: {allowed})"
        flaw("high", says, "allow the origin of the objectives only")
    if traced.status_code < 400:
        flaw("medium", "answers TRACE, which returns what a page may not see", "refuse it")
    for name in ("x-powered-by", "x-aspnet-version"):
        if name in plain.headers:
            flaw("low", f"says what it runs on ({name}: {plain.headers[name]})", "remove the header")
    if any(character.isdigit() for character in plain.headers.get("server", "")):
        flaw("low", f"says its version (server: {plain.headers['server']})", "remove the version")
    if url.startswith("https:"):
        age = next(
            (
                int(part.strip()[8:])
                for part in plain.headers.get("strict-transport-security", "").split(";")
                if part.strip().startswith("max-age=") and part.strip()[8:].isdigit()
            ),
            0,
        )
        if age < SHORTEST_HSTS_S:
            flaw("low", f"Strict-Transport-Security is {age} s", f"send at least {SHORTEST_HSTS_S} s")
    for cookie in plain.headers.get_list("set-cookie"):
        lacks = [word for word in ("secure", "httponly", "samesite") if word not in cookie.lower()]
        if lacks:
            flaw("medium", f"sets a cookie without {', '.join(lacks)}", "set them")
    return Checked("headers", f"3 requests to {url}{path}", flaws=tuple(flaws))


def tls(url: str) -> Checked:
    """Protocols that a server still speaks, and its certificate."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    if parts.scheme != "https":
        return Checked("tls", f"{url} is plain HTTP on this machine; TLS begins at AWS", made=False)
    flaws: list[Flaw] = []
    try:
        certificate = _certificate(host, port)
    except ssl.SSLCertVerificationError as error:
        flaws.append(Flaw("critical", f"{host}:{port}", f"its certificate: {error.verify_message}", "renew it", _TLS))
        certificate = {}
    except OSError as error:
        return Checked("tls", f"{host}:{port} can't be reached ({type(error).__name__})", made=False)
    until = certificate.get("notAfter")
    if isinstance(until, str):
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC)
        if expires < datetime.now(UTC) + timedelta(days=EXPIRES_DAYS):
            flaws.append(
                Flaw("high", f"{host}:{port}", f"its certificate expires on {expires:%Y-%m-%d}", "renew it", _TLS)
            )
    old = [version for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1) if _speaks(host, port, version)]
    flaws += [
        Flaw(
            "high",
            f"{host}:{port}",
            f"still speaks {version.name.replace('v', ' ').replace('_', '.')}",
            "allow 1.2 and newer",
            _TLS,
        )
        for version in old
    ]
    return Checked("tls", f"{host}:{port}: certificate, TLS 1.0 and 1.1", flaws=tuple(flaws))


def _certificate(host: str, port: int) -> dict[str, object]:
    context = ssl.create_default_context()
    with (
        socket.create_connection((host, port), TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname=host) as made,
    ):
        return dict(made.getpeercert() or {})


def _speaks(host: str, port: int, version: ssl.TLSVersion) -> bool:
    """Whether a handshake of this version succeeds, by a client that would accept anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as raw, context.wrap_socket(raw, server_hostname=host):
            return True
    except (ssl.SSLError, OSError):
        return False
