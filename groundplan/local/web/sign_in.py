"""Cognito's sign-in pages on one machine: OAuth's authorization code flow (RFC 6749) with PKCE (RFC 7636).

moto keeps user pools, checks passwords and signs tokens, but has no pages. A domain's are at
``/_aws/cognito/DOMAIN/``, a pool's OpenID configuration is below ``/_aws/cognito-idp/POOL/``.

https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-userpools-server-contract-reference.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from groundplan.local.web.gateway import Answer, Headers

_log = logging.getLogger("groundplan.local.web")
PREFIX = "/_aws/cognito"
POOLS = f"{PREFIX}-idp/"
CODE_SECONDS = 300  # as Cognito's
_ASKED = ("client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;background:#f4f5f7;color:#1c2430;margin:0}}
main{{box-sizing:border-box;width:calc(100% - 2rem);max-width:26rem;margin:12vh auto;padding:2rem;
background:#fff;border-radius:8px;box-shadow:0 1px 4px #0003}}
h1{{font-size:1.25rem;margin:0 0 1rem}}label{{display:block;margin:0 0 1rem}}
input{{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;border:1px solid #8a94a3;border-radius:4px}}
button{{width:100%;font:inherit;padding:.6rem;border:0;border-radius:4px;background:#1f5fbf;color:#fff}}
.error{{color:#a3141f}}</style><main>{content}</main></html>"""


@dataclass(frozen=True)
class _Code:
    """What a code stands for until the page exchanges it, once."""

    client: str
    redirect: str
    challenge: str
    tokens: dict[str, Any]
    until: float = field(default_factory=lambda: time.monotonic() + CODE_SECONDS)


class _RefusedError(Exception):
    """The request is not one that Cognito would answer."""


class SignIn:
    """The sign-in of an account's user pools.

    Args:
        client: Makes a client of an AWS service.
        keys_url: Address of a pool's public keys, by its id.
    """

    def __init__(self, client: Callable[[str], Any], keys_url: Callable[[str], str]) -> None:
        self._client, self._keys_url = client, keys_url
        self._codes: dict[str, _Code] = {}

    async def answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Answer a request below ``PREFIX``."""
        parts: list[str] = [*scope["path"].removeprefix("/_aws/").split("/"), ""]
        kind, name, rest = parts[0], parts[1], parts[2:]
        page, query = "/".join(rest).rstrip("/"), dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        headers = dict(scope["headers"])
        if kind == "cognito-idp" and page == ".well-known/openid-configuration":
            own = f"http://{headers.get(b'host', b'').decode('latin-1')}"
            return await asyncio.to_thread(self._configuration, name, own)
        form = dict(parse_qsl(body.decode("utf-8", "replace"))) if scope["method"] == "POST" else {}
        ways: dict[tuple[str, str], Callable[[str, dict[str, str], dict[str, str]], Answer]] = {
            ("GET", "oauth2/authorize"): self._ask,
            ("POST", "oauth2/authorize"): self._let_in,
            ("POST", "oauth2/token"): self._exchange,
            ("OPTIONS", "oauth2/token"): lambda name, query, form: (204, _open(), b""),
            ("GET", "logout"): self._leave,
        }
        way = ways.get((scope["method"], page))
        if kind != "cognito" or not name or way is None:
            return _page(404, "There is no such page; applications begin at oauth2/authorize.")
        try:
            return await asyncio.to_thread(way, name, query, form)
        except _RefusedError as refused:
            if page == "oauth2/token":
                return _json(400, {"error": "invalid_client", "error_description": str(refused)}, _open())
            return _page(400, str(refused))
        except Exception as error:  # whatever a form may say
            _log.warning("%s: %s: %s", scope["path"], type(error).__name__, error)
            return _page(500, "The local sign-in could not answer; its log says why.")

    def _configuration(self, pool: str, own: str) -> Answer:
        """https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata."""
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            described = self._client("cognito-idp").describe_user_pool(UserPoolId=pool)["UserPool"]
        except (ClientError, ParamValidationError):
            return _json(404, {"message": f"User pool {pool} does not exist."})
        region, pages = pool.rpartition("_")[0], f"{own}{PREFIX}/{described.get('Domain', '')}"
        return _json(
            200,
            {
                "issuer": f"https://cognito-idp.{region}.amazonaws.com/{pool}",
                "authorization_endpoint": f"{pages}/oauth2/authorize",
                "token_endpoint": f"{pages}/oauth2/token",
                "end_session_endpoint": f"{pages}/logout",
                "jwks_uri": self._keys_url(pool),
                "response_types_supported": ["code"],
                "scopes_supported": ["openid", "email"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
            },
        )

    def _application(self, domain: str, client_id: str) -> tuple[str, dict[str, Any]]:
        """The pool of a domain, and one of its clients."""
        from botocore.exceptions import ClientError, ParamValidationError

        cognito = self._client("cognito-idp")
        pool = cognito.describe_user_pool_domain(Domain=domain)["DomainDescription"].get("UserPoolId")
        if not pool:
            raise _RefusedError(f"There is no sign-in domain {domain}.")
        try:
            found = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=client_id)["UserPoolClient"]
        except (ClientError, ParamValidationError):
            raise _RefusedError("client_id names no application of this user pool.") from None
        return pool, found

    def _checked(self, domain: str, query: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        pool, application = self._application(domain, query.get("client_id", ""))
        known = application.get("CallbackURLs") or []
        if query.get("redirect_uri") not in known:
            raise _RefusedError(
                f"redirect_uri is {query.get('redirect_uri', 'missing')}; this application's are: {', '.join(known)}."
            )
        flows = application.get("AllowedOAuthFlows") or []
        if query.get("response_type") != "code":
            raise _RefusedError("response_type must be code.")
        if "code" not in flows or not application.get("AllowedOAuthFlowsUserPoolClient"):
            raise _RefusedError("This application may not use the authorization code flow (AllowedOAuthFlows).")
        allowed = application.get("AllowedOAuthScopes") or []
        if other := [name for name in query.get("scope", "").split() if name not in allowed]:
            raise _RefusedError(f"scope has {', '.join(other)}; this application's are: {', '.join(allowed)}.")
        if query.get("code_challenge_method", "S256") != "S256":
            raise _RefusedError("code_challenge_method must be S256.")
        return pool, application

    def _ask(self, domain: str, query: dict[str, str], form: dict[str, str], error: str = "") -> Answer:
        self._checked(domain, query)
        kept = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(query[name])}">'
            for name in _ASKED
            if name in query
        )
        who = f' value="{html.escape(form["username"])}"' if form.get("username") else ""
        told = f'<p class="error" role="alert">{html.escape(error)}</p>' if error else ""
        return _html(
            400 if error else 200,
            f'<h1>Sign in</h1>{told}<form method="post" action="authorize">{kept}'
            f'<label>E-mail<input name="username" type="email" autocomplete="username" required autofocus{who}></label>'
            '<label>Password<input name="password" type="password" autocomplete="current-password" required></label>'
            "<button>Sign in</button></form>",
        )

    def _let_in(self, domain: str, query: dict[str, str], form: dict[str, str]) -> Answer:
        from botocore.exceptions import ClientError

        pool, application = self._checked(domain, form)
        given = {"USERNAME": form.get("username", ""), "PASSWORD": form.get("password", "")}
        try:
            found = self._client("cognito-idp").admin_initiate_auth(
                UserPoolId=pool,
                ClientId=application["ClientId"],
                AuthFlow="ADMIN_USER_PASSWORD_AUTH",
                AuthParameters=given,
            )
        except ClientError:
            return self._ask(domain, form, form, "The e-mail or the password is not right.")
        if "AuthenticationResult" not in found:
            return self._ask(
                domain,
                form,
                form,
                f"{found['ChallengeName']} is asked for, which the local sign-in doesn't play; set a permanent password"
                " with `aws cognito-idp admin-set-user-password --permanent`.",
            )
        code = secrets.token_urlsafe(24)
        self._codes = {name: one for name, one in self._codes.items() if one.until > time.monotonic()}
        tokens = dict(found["AuthenticationResult"])
        if form.get("scope") and "openid" not in form["scope"].split():
            tokens.pop("IdToken", None)
        self._codes[code] = _Code(application["ClientId"], form["redirect_uri"], form.get("code_challenge", ""), tokens)
        back = {"code": code, **({"state": form["state"]} if "state" in form else {})}
        joined = "&" if "?" in form["redirect_uri"] else "?"
        return 302, [(b"location", f"{form['redirect_uri']}{joined}{urlencode(back)}".encode())], b""

    def _exchange(self, domain: str, query: dict[str, str], form: dict[str, str]) -> Answer:
        """Tokens for a code, or for the token that renews them."""
        from botocore.exceptions import ClientError

        pool, application = self._application(domain, form.get("client_id", ""))
        if application.get("ClientSecret"):
            raise _RefusedError("This application has a secret, and the local sign-in plays those without.")
        tokens: dict[str, Any] | None = None
        if form.get("grant_type") == "authorization_code":
            code = self._codes.pop(form.get("code", ""), None)
            if (
                code
                and code.until > time.monotonic()
                and (code.client, code.redirect) == (application["ClientId"], form.get("redirect_uri"))
                and code.challenge in ("", _challenge(form.get("code_verifier", "")))
            ):
                tokens = code.tokens
        elif form.get("grant_type") == "refresh_token":
            try:
                tokens = self._client("cognito-idp").admin_initiate_auth(
                    UserPoolId=pool,
                    ClientId=application["ClientId"],
                    AuthFlow="REFRESH_TOKEN_AUTH",
                    AuthParameters={"REFRESH_TOKEN": form.get("refresh_token", "")},
                )["AuthenticationResult"]
            except ClientError:
                tokens = None
        else:
            return _json(400, {"error": "unsupported_grant_type"}, _open())
        if tokens is None:
            return _json(400, {"error": "invalid_grant"}, _open())
        names = ("IdToken", "id_token"), ("AccessToken", "access_token"), ("RefreshToken", "refresh_token")
        return _json(
            200,
            {
                **{name: tokens[key] for key, name in names if key in tokens},
                "expires_in": tokens["ExpiresIn"],
                "token_type": "Bearer",
            },
            _open(),
        )

    def _leave(self, domain: str, query: dict[str, str], form: dict[str, str]) -> Answer:
        _, application = self._application(domain, query.get("client_id", ""))
        to = query.get("logout_uri", "")
        if to not in (application.get("LogoutURLs") or []):
            raise _RefusedError("logout_uri is none of this application's.")
        return 302, [(b"location", to.encode())], b""


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _open() -> Headers:
    """Any page may exchange a code that it was given, as with Cognito."""
    return [(b"access-control-allow-origin", b"*"), (b"access-control-allow-headers", b"content-type,authorization")]


def _json(status: int, document: Mapping[str, Any], headers: Headers | None = None) -> Answer:
    told = headers if headers is not None else _open()
    return status, [(b"content-type", b"application/json"), *told], json.dumps(document).encode()


def _html(status: int, content: str) -> Answer:
    return status, [(b"content-type", b"text/html; charset=utf-8")], _PAGE.format(content=content).encode()


def _page(status: int, text: str) -> Answer:
    return _html(status, f"<h1>Sign in</h1><p>{html.escape(text)}</p>")
