"""Which of the cloud's calls a record is about, by the ids of their requests, which CloudTrail has as well."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

ENDPOINT_CALLS = ("CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities", "DeleteEndpoint")
SIGN = "Sign"


def note_calls(client: Any, operations: tuple[str, ...], calls: list[dict[str, str]]) -> None:
    """From now on, note each successful call of some operations in a list.

    Args:
        client: Of boto3.
    """
    service = client.meta.service_model.service_id.hyphenize()

    def answered(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if http_response.status_code < 300:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            calls.append({"call": model.name, "id": parsed["ResponseMetadata"].get("RequestId", ""), "at": at})

    for operation in operations:
        client.meta.events.register(f"after-call.{service}.{operation}", answered)
