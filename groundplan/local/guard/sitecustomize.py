"""Loaded by every Python child of the local cloud (it is on their PYTHONPATH): AWS itself can't be reached from them.

It works below boto3, requests, urllib3 and similar libraries, by refusing to resolve AWS's names and to connect to the
addresses that hand out credentials. Libraries with their own sockets (librdkafka, pyarrow's S3) are restricted only by
the pinned environment.
"""

import os
import socket
import sys

_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".aws.dev", ".on.aws")
_CREDENTIALS = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23")

_getaddrinfo = socket.getaddrinfo
_connect = socket.socket.connect


def _refused(host):
    return f"groundplan: refused a connection to {host}: processes of the local cloud never reach AWS"


def _guarded_getaddrinfo(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    if name.lower().rstrip(".").endswith(_AWS) or name in _CREDENTIALS:
        raise OSError(_refused(name))
    return _getaddrinfo(host, *args, **kwargs)


def _guarded_connect(self, address):
    if isinstance(address, tuple) and address and address[0] in _CREDENTIALS:
        raise OSError(_refused(address[0]))
    return _connect(self, address)


socket.getaddrinfo = _guarded_getaddrinfo
socket.socket.connect = _guarded_connect

# This file hides a sitecustomize of the interpreter's own; run that, too.
_here = os.path.dirname(os.path.abspath(__file__))
for _folder in sys.path:
    _other = os.path.join(_folder or ".", "sitecustomize.py")
    if os.path.abspath(_folder or ".") != _here and os.path.isfile(_other):
        with open(_other, encoding="utf-8") as _file:
            exec(compile(_file.read(), _other, "exec"), {"__name__": "sitecustomize", "__file__": _other})  # noqa: S102
        break
