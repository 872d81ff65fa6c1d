"""A program under review reaches no network and has nobody's credentials.

On Linux the process enters a network of its own, in which there is only loopback (user_namespaces(7),
network_namespaces(7)); what it starts is in it, too. Where a system has no such namespaces, only connections from
Python are refused: that is no sandbox, and the review says so.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SET_FLAGS, _UP = 0x8914, 0x1  # netdevice(7)
_LOOPBACK = ("127.", "::1", "localhost")
# Credentials of clouds and of services that infrastructure programs talk to.
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "PULUMI_ACCESS_TOKEN",
    "PULUMI_CONFIG_PASSPHRASE", "KUBECONFIG", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CREDENTIALS",
    "ARM_CLIENT_SECRET", "GITHUB_TOKEN", "GITLAB_TOKEN", "VAULT_TOKEN", "CLOUDFLARE_API_TOKEN", "DATADOG_API_KEY",
)  # fmt: skip


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a program finds nobody's credentials."""
    kept = {name: value for name, value in environment.items() if name not in _CREDENTIALS}
    return {
        **kept,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Offline:
    """The state of this process, once it has left the network.

    Args:
        enforced: Whether the kernel keeps it, and what it starts, from the network.

    Attributes:
        tried: Addresses that the program tried to reach, in their order.
    """

    def __init__(self, *, enforced: bool) -> None:
        self.enforced = enforced
        self.tried: list[str] = []
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            self._refuse(str(arguments[0]), arguments[1])
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self._refuse(str(arguments[1][0]), arguments[1][1])

    def _refuse(self, host: str, port: Any) -> None:
        if host in ("None", "") or host.startswith(_LOOPBACK):
            return
        address = f"{host}:{port}" if port else host
        if address not in self.tried:
            self.tried.append(address)
        raise OSError(f"a review has no network; {address} was requested")


def leave_network() -> bool:
    """Whether the process is in a network of its own now; it is tried in another process first, since one that is half
    way can't come back.
    """
    if sys.platform != "linux":
        return False
    trial = os.fork()
    if trial == 0:
        os._exit(0 if _enter() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(trial, 0)[1]) == 0 and _enter()


def _enter() -> bool:
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NET) != 0:
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:  # policy packs answer on loopback
            fcntl.ioctl(opened, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
    except OSError:
        return False
    return True
