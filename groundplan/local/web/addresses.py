"""Where this machine answers what has an address on AWS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from groundplan.local.web.gateway import PREFIX as APIS
from groundplan.local.web.sign_in import POOLS


def front_end(platform: Mapping[str, Any], router: str) -> dict[str, str]:
    """What a web page needs to call models here; empty where none may.

    Args:
        platform: The stack's outputs.
        router: Address of the endpoint router.

    Returns:
        ``url`` of the interface, ``openid_configuration`` of the sign-in, ``client_id`` and ``user_pool_id``.
    """
    made = platform.get("front_end")
    if not made:
        return {}
    address = urlsplit(made["url"])
    return {
        "url": f"{router}{APIS}{(address.hostname or '').partition('.')[0]}{address.path}",
        "openid_configuration": f"{router}{POOLS}{made['user_pool_id']}/.well-known/openid-configuration",
        "client_id": made["client_id"],
        "user_pool_id": made["user_pool_id"],
    }
