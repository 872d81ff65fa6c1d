"""Sandboxes the model process before any of the model's code runs: it sees its own files, Python, and one socket.

On Linux with its own namespaces (user, mount, network, process ids, IPC; see namespaces(7)), a file system that
contains only what is named, and limits on memory and files (setrlimit(2)); no privilege is needed or kept
(capabilities(7), PR_SET_NO_NEW_PRIVS). Where a system has no such namespaces (macOS, containers whose seccomp profile
forbids them), ``why_not`` says so.

Run as ``python -m pipelines.serving.models.isolation COMMAND...``: a launcher, which sandboxes itself and then becomes
the command.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_NEW_USER, _NEW_MOUNT, _NEW_NET, _NEW_PID, _NEW_IPC = 0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _LAST_CAPABILITY = 1, 24, 38, 63
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
FILES_MB = 256  # what it may write, all in memory
MEMORY_MB = int(
    os.environ.get("GROUNDPLAN_MODEL_MEMORY_MB", "8192")
)  # of address space; libraries reserve more than they use
MOST_PROCESSES = 256
_HERE = Path(__file__).resolve().parents[2]  # pipelines, without what is beside it


class NotIsolatedError(Exception):
    """The process could not be sandboxed."""


@cache
def why_not() -> str:
    """Why processes can't be sandboxed here; empty where they can. Determined by trying."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    with TemporaryDirectory() as root:
        done = subprocess.run(
            command(["/usr/bin/env", "true"], root, []), env=environment(), capture_output=True, text=True, check=False
        )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["the launcher failed"])[-1]


def environment() -> dict[str, str]:
    """The whole environment of the process: no credentials, no addresses."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONNOUSERSITE": "1"}  # noqa: S108
    return {**own, **one, "PYTHONPATH": str(_HERE.parent)}


def command(argv: list[str], root: str, files: list[str]) -> list[str]:
    """The command that runs another one in the sandbox, with these files and folders to read.

    Args:
        root: An empty folder, for the new file system.
    """
    named = [part for path in [*_python_files(), *files] for part in ("--read", path)]
    return [sys.executable, "-m", __name__, "--root", root, *named, *argv]


def _python_files() -> list[str]:
    """What Python needs to run this project's code, and nothing else from the surrounding folders."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return list(
        dict.fromkeys([sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent), *packages, str(_HERE)])
    )


class _Kernel:
    """The system calls that Python has no names for."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: object) -> None:
        """Make a call.

        Raises:
            NotIsolatedError: The kernel refuses it.
        """
        encoded = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
        if getattr(self._libc, name)(*encoded) != 0:
            raise NotIsolatedError(f"the kernel refuses {name}: {os.strerror(ctypes.get_errno())}")

    def bind(self, source: str, root: str, flags: int = _READ_ONLY | _NO_SUID) -> None:
        """Mount a file or folder under a new root, at the same path; a link is re-created."""
        target = Path(root + source)
        if target.exists() or target.is_symlink():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_symlink():
            target.symlink_to(Path(source).readlink())
            return
        if Path(source).is_dir():
            target.mkdir()
        elif Path(source).exists():
            target.touch()
        else:
            return
        self.call("mount", source, str(target), None, _BIND | _RECURSIVE, None)
        if flags:
            self.call("mount", None, str(target), None, _BIND | _REMOUNT | flags | _kept(source), None)


def _kept(source: str) -> int:
    """Flags of the file system that a mount without privileges may not drop."""
    found, flags = os.statvfs(source).f_flag, 0
    for flag, mount_flag in (
        (os.ST_NODEV, _NO_DEVICES),
        (os.ST_NOEXEC, 8),
        (os.ST_NOATIME, 1024),
        (os.ST_RELATIME, 1 << 21),
        (os.ST_NODIRATIME, 2048),
    ):
        flags |= mount_flag if found & flag else 0
    return flags


def leave() -> None:
    """Enter new namespaces; the next child is the first process of the new process ids.

    Raises:
        NotIsolatedError: The kernel does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _Kernel().call("unshare", _NEW_USER | _NEW_MOUNT | _NEW_NET | _NEW_PID | _NEW_IPC)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def close_in(root: str, files: list[str]) -> None:
    """Switch to a file system that contains only what is named, without privileges and with limited resources.

    Args:
        root: An empty folder on which the new file system is mounted.

    Raises:
        NotIsolatedError: The kernel does not allow it.
    """
    kernel = _Kernel()
    kernel.call("mount", None, "/", None, _RECURSIVE | _PRIVATE, None)
    kernel.call("mount", "tmpfs", root, "tmpfs", _NO_SUID | _NO_DEVICES, f"size={FILES_MB}m")
    for path in (*SYSTEM, *files):
        kernel.bind(path, root)
    for path in DEVICES:
        kernel.bind(path, root, 0)
    for path in ("/tmp", "/dev/shm", "/before", "/proc"):  # noqa: S108 (the process's own)
        Path(root + path).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(
        NotIsolatedError
    ):  # of its own processes only; a container may forbid it, and few libraries need it
        kernel.call("mount", "proc", f"{root}/proc", "proc", _NO_SUID | _NO_DEVICES, None)
    os.chdir(root)
    kernel.call("syscall", _PIVOT_ROOT[os.uname().machine], ".", "before")
    os.chdir("/")
    kernel.call("umount2", "/before", _DETACH)
    Path("/before").rmdir()
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_MB << 20),
        (resource.RLIMIT_FSIZE, FILES_MB << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, MOST_PROCESSES),
    ):
        hard = resource.getrlimit(limit)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))
    for capability in range(_LAST_CAPABILITY + 1):
        with contextlib.suppress(NotIsolatedError):  # the kernel has fewer
            kernel.call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    kernel.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def wait_for(child: int) -> None:
    """Exit like the child, which in turn ends with this process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    """Sandbox this process, then become the command; exit 71 (EX_OSERR) where that is impossible."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True, help="an empty folder")
    parser.add_argument("--read", action="append", default=[], help="a file or folder that the command may read")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        leave()
        if child := os.fork():
            wait_for(child)
        _Kernel().call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        close_in(arguments.root, arguments.read)
        os.execv(arguments.command[0], arguments.command)  # noqa: S606
    except (NotIsolatedError, OSError) as error:
        print(f"no namespaces: {error}", file=sys.stderr)
        os._exit(71)


if __name__ == "__main__":
    main()
