"""Tags that AWS's provider gives every resource: ``aws:defaultTags`` of the configuration, or a provider's own.

The engine hands packs what the provider has made of the inputs; a review has no provider, so it adds them itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from pulumi.runtime import rpc


class DefaultTags:
    """The default tags of each provider.

    Args:
        config: Of the stack.
    """

    def __init__(self, config: Mapping[str, str]) -> None:
        self._of = {"": _tags(config.get("aws:defaultTags"))}

    def add(self, urn: str, request: Any, properties: struct_pb2.Struct) -> None:
        """Add a resource's default tags to its properties; of a provider, keep what it gives others."""
        if request.type == "pulumi:providers:aws":
            given = json_format.MessageToDict(request.object) if "defaultTags" in request.object.fields else {}
            self._of[urn] = _tags(given.get("defaultTags"))
        elif request.type.startswith("aws:") and request.custom:
            tags = self._of.get(request.provider.rpartition("::")[0] if request.provider else "", {})
            if tags and _takes_tags(request.type):
                _merge(properties, tags)


def _merge(properties: struct_pb2.Struct, tags: Mapping[str, Any]) -> None:
    if "tags" in properties.fields and not properties.fields["tags"].HasField("struct_value"):
        return  # only a deployment can tell them
    own = properties.get_or_create_struct("tags")
    for key, value in tags.items():
        if key not in own.fields:
            own[key] = value


def _takes_tags(resource_type: str) -> bool:
    from groundplan.engine.resource_types import resource_type as type_of

    of = type_of(resource_type)
    return of is None or "tags" in of.inputs


def _tags(given: Any) -> dict[str, Any]:
    """Of a structure, or of its JSON, as providers are given their inputs."""
    if isinstance(given, str) and given != rpc.UNKNOWN:
        try:
            given = json.loads(given)
        except ValueError:
            return {}
    tags = given.get("tags") if isinstance(given, Mapping) else None
    return (
        {str(key): value for key, value in tags.items() if isinstance(value, str)} if isinstance(tags, Mapping) else {}
    )
