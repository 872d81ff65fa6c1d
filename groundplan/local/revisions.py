"""Models on the cluster, on one machine: runs the server of each revision, and answers as the cluster's gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundplan.local.containers import REQUEST_TIMEOUT_S, START_TIMEOUT_S, Container

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
_FORWARDED = (b"content-type", b"accept", b"inference-header-content-length")
# How soon a server looks for the package that it waits for, and writes what it was asked.
_SOON = {"GROUNDPLAN_PUBLISHED_SECONDS": "0.5", "GROUNDPLAN_CAPTURE_SECONDS": "0.5"}


@dataclass(frozen=True)
class _Route:
    """Where requests to one host go: revisions with their percent."""

    namespace: str
    service: str
    shares: dict[str, int]

    def choose(self) -> str:
        """A revision, by its share; empty where none is ready."""
        if not self.shares:
            return ""
        return random.choices(list(self.shares), list(self.shares.values()))[0]  # noqa: S311 (no secret)


class Revisions:
    """The servers, and the routes to them.

    Args:
        api: Address of the local cloud.
        port: Where the gateway listens.
        start: Starts the server of a revision, with these variables.
        retire: Ends one, once it has answered what it has begun.
    """

    def __init__(
        self,
        api: str,
        port: int,
        start: Callable[[str, dict[str, str]], Container],
        retire: Callable[[Container], None],
    ) -> None:
        self._api, self._port, self._start, self._retire = f"{api}/_groundplan", port, start, retire
        self.http: Any = None  # made in the loop that uses it
        self.containers: dict[str, Container] = {}
        self._routes: dict[str, _Route] = {}
        self._wanted: dict[str, dict[str, Any]] = {}  # variables and path of the probe, by revision
        self._failed: set[str] = set()
        self._known = -1
        self.answered: Counter[tuple[str, str, str, int]] = Counter()  # by namespace, service, revision and status

    def has(self, host: str) -> bool:
        """Whether a host is one of the gateway's."""
        return host in self._routes

    async def follow(self, changes: int) -> None:
        """Start, end and route what the cluster's API wants; tell it what is ready."""
        if changes != self._known:
            told = (await self.http.post(f"{self._api}/routes/{self._port}", json={})).json()
            found = told["routes"]
            self._wanted = {name: values for one in found for name, values in one["revisions"].items()}
            self._routes = {
                host: _Route(one["namespace"], one["service"], shares)
                for one in found
                for host, shares in one["hosts"].items()
            }
            self._known = changes
            await self.http.post(f"{self._api}/routed/all", json=told["changes"])
            self._failed &= set(self._wanted)
            for name in set(self.containers) - set(self._wanted):
                self._retire(self.containers.pop(name))
        for running in self.containers.values():
            running.ready = running.ready and running.process.poll() is None
        for name in self._wanted:
            if name not in self._failed and not ((container := self.containers.get(name)) and container.ready):
                await self._ensure(name)

    async def _ensure(self, name: str) -> None:
        container = self.containers.get(name)
        if container is None:
            container = self.containers[name] = self._start(name, {**self._wanted[name]["variables"], **_SOON})
        why = ""
        if (code := container.process.poll()) is not None:
            why = f"the model server stopped with exit code {code}: {container.said()}"
        elif time.monotonic() - container.started > START_TIMEOUT_S and not container.was_ready:
            why = f"the model server was not ready within {START_TIMEOUT_S:g} s: {container.said()}"
        else:
            with contextlib.suppress(Exception):
                ping = await self.http.get(f"http://127.0.0.1:{container.port}{self._wanted[name]['probe']}")
                container.ready = container.was_ready = ping.status_code == 200
        if why:
            self._retire(self.containers.pop(name))
            if container.was_ready:  # it has served before, and is started again
                return
            self._failed.add(name)
        if why or container.ready:
            await self.http.post(f"{self._api}/revisions/{name}", json={"failure": why[:1000]})

    async def answer(self, scope: dict[str, Any], host: str, body: bytes) -> Answer:
        """One request to the gateway."""
        route = self._routes[host]
        name = route.choose()
        server = await self._activated(name)
        if server is None:
            status, headers, content = 503, [], b"no healthy upstream"
        else:
            given = dict(scope["headers"])
            wanted = [(key, given[key]) for key in _FORWARDED if key in given]
            path = scope["path"]
            try:
                if scope["method"] == "POST":
                    status, kind, content = await server.pool.post(path, wanted, body, REQUEST_TIMEOUT_S)
                else:
                    got = await self.http.request(scope["method"], f"http://127.0.0.1:{server.port}{path}")
                    status, kind, content = got.status_code, got.headers.get("content-type", "").encode(), got.content
                headers = [(b"content-type", kind or b"application/json")]
            except (ConnectionError, TimeoutError) as error:
                server.ready = isinstance(error, TimeoutError)
                status, headers, content = 503, [], b"upstream connect error"
        self.answered[route.namespace, route.service, name, status] += 1
        return status, headers, content

    async def _activated(self, name: str) -> Container | None:
        """A revision's server, which requests wait for as at Knative's activator; None if it does not get ready."""
        until = time.monotonic() + REQUEST_TIMEOUT_S
        while name and name not in self._failed:
            if (container := self.containers.get(name)) and container.ready:
                return container
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.05)
        return None

    def samples(self) -> bytes:
        """What has been counted, as series of Knative's proxy."""
        return json.dumps([[*key, count] for key, count in self.answered.items()]).encode()
