"""The model server as an AWS Lambda function: ``pipelines.serving.lambda_handler.handler`` under Lambda's own runtime
interface client.

It answers a function URL or an HTTP API (payload format 2.0), a REST API's proxy (1.0), and direct invocations, whose
payload is the body of ``POST /invocations`` itself.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from pipelines.serving.worker import application

_TEXT = ("application/json", "text/", "application/openmetrics-text")

# Outside of the handler: Lambda runs this once for each container, before the first event.
_loop = asyncio.new_event_loop()
_server = application()
_loop.run_until_complete(_server.start())


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one event.

    Returns:
        Status, headers and body, as a proxy integration wants them; of a direct invocation the answer itself.

    Raises:
        ValueError: A direct invocation was refused; the message is the server's.
    """
    http = event.get("requestContext", {}).get("http", {})
    method, path = http.get("method") or event.get("httpMethod"), event.get("rawPath") or event.get("path")
    if not method or not path:
        status, _, content = _loop.run_until_complete(
            _answer("POST", "/invocations", [(b"content-type", b"application/json")], json.dumps(event).encode())
        )
        found: dict[str, Any] = json.loads(content)
        if status != 200:
            raise ValueError(found.get("error", f"status {status}"))
        return found
    body = event.get("body") or ""
    content = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    given = [(name.lower().encode(), str(value).encode()) for name, value in (event.get("headers") or {}).items()]
    status, headers, content = _loop.run_until_complete(_answer(method, path, given, content))
    named = {name.decode(): value.decode() for name, value in headers}
    plain = named.get("content-type", "").startswith(_TEXT)
    return {
        "statusCode": status,
        "headers": named,
        "body": content.decode() if plain else base64.b64encode(content).decode(),
        "isBase64Encoded": not plain,
    }


async def _answer(
    method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """One request to the server, as ASGI has it: https://asgi.readthedocs.io/en/latest/specs/www.html."""
    # A proxy passes the length of what it was sent, which is another one where the body is in base64.
    headers = [pair for pair in headers if pair[0] != b"content-length"]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*headers, (b"content-length", str(len(body)).encode())],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await _server(scope, receive, send)
    return sent[0]["status"], sent[0].get("headers", []), b"".join(part.get("body", b"") for part in sent[1:])
