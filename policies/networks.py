"""Ranges of addresses as they are meant, in whatever spelling."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

# An eighth of all IPv4 addresses, and of the IPv6 addresses in use: nobody's own.
_MOST = {4: 2**29, 6: 2**122}
_IN_USE = ipaddress.IPv6Network("2000::/3")


def internet_among(texts: Iterable[str]) -> list[str]:
    """Those of some ranges that, together, are the internet or a large part of it; empty where they are not.

    Args:
        texts: In CIDR form, IPv4 or IPv6; what is none is ignored.
    """
    ranges = {text: network for text in texts if (network := _public(text)) is not None}
    found = []
    for version, most in _MOST.items():
        networks: list[Any] = [network for network in ranges.values() if network.version == version]
        if sum(network.num_addresses for network in ipaddress.collapse_addresses(networks)) >= most:
            found += [
                text
                for text, network in ranges.items()
                if network.version == version and network.num_addresses >= most / 64
            ]
    return found


def _public(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and _IN_USE.subnet_of(network):
        return _IN_USE
    return None if network.is_private and network.prefixlen else network
