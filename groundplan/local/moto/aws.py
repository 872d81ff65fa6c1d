"""boto3 clients of the local cloud: they use one address and one pair of test credentials, and refuse all others."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from groundplan.local.calls import CALLER_PREFIX
from spec.errors import GroundplanError

ACCESS_KEY, SECRET_KEY = "testing", "testing"  # moto accepts any pair; these belong to no account
HOLD = "X-Groundplan-Hold"  # header of whoever alone is answered for a while
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_making = threading.Lock()  # creating clients from a botocore session is not thread-safe


@cache
def session() -> Any:
    """The one boto3 session of this process: it keeps the service models, which are slow to read, for all clients."""
    import boto3
    import botocore.session

    # Without profile, so that a profile named in the environment is not even looked for.
    made = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    own = os.environ.get("AWS_ACCESS_KEY_ID", "")
    key = own if own.startswith(CALLER_PREFIX) else ACCESS_KEY  # a process of the platform is identified by its key
    return boto3.Session(aws_access_key_id=key, aws_secret_access_key=SECRET_KEY, botocore_session=made)


def client(service: str, endpoint: str, region: str) -> Any:
    """A client that talks to ``endpoint`` whatever the environment, profiles or instance metadata say.

    Raises:
        GroundplanError: On use, if a request is about to leave this machine.
    """
    from botocore.config import Config

    with _making:
        made = session().client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            config=Config(  # type: ignore[call-arg]
                proxies={},
                max_pool_connections=32,
                retries={"max_attempts": 1},
                ignore_configured_endpoint_urls=True,
                read_timeout=30,
            ),
        )
    made.meta.events.register_last("before-send", _refuse_elsewhere(endpoint))
    return made


def _refuse_elsewhere(endpoint: str) -> Any:
    allowed = {*_LOOPBACK, urlsplit(endpoint).hostname}

    def check(request: Any, **_: Any) -> None:
        if (host := urlsplit(request.url).hostname) not in allowed:
            raise GroundplanError(f"refused a request to {host}: the local cloud talks to {endpoint} only")

    return check


@dataclass(frozen=True)
class Cloud:
    """Where the local cloud answers.

    Attributes:
        hold: Its requests are answered while others wait; empty outside a hold.
    """

    endpoint: str
    region: str
    hold: str = ""

    def client(self, service: str) -> Any:
        """A boto3 client."""
        made = client(service, self.endpoint, self.region)
        if self.hold:
            made.meta.events.register("before-send", self._say_who_holds)
        return made

    def _say_who_holds(self, request: Any, **_: Any) -> None:
        request.headers[HOLD] = self.hold
