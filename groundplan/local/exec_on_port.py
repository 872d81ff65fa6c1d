"""Runs a server on a port that its own orphan may still hold: ``python -m groundplan.local.exec_on_port PORT
COMMAND ...``.

``mlflow server`` serves in a child process. If the parent alone is killed, the child keeps holding the port, and
every restart would fail. Only processes of the same platform (by ``GROUNDPLAN_HOME``) are ever stopped.
"""

from __future__ import annotations

import contextlib
import os
import sys

import psutil


def free(port: int) -> None:
    """Stop processes of this platform that listen on ``port``."""
    holders = []
    for process in psutil.process_iter():
        try:
            ours = (
                process.pid != os.getpid() and process.environ().get("GROUNDPLAN_HOME") == os.environ["GROUNDPLAN_HOME"]
            )
            if ours and any(
                c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")
            ):
                process.terminate()
                holders.append(process)
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    _, alive = psutil.wait_procs(holders, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()


def main() -> None:
    """Free the port, then become the command."""
    port, command = int(sys.argv[1]), sys.argv[2:]
    free(port)
    os.execv(command[0], command)  # noqa: S606 (a list, no shell)


if __name__ == "__main__":
    main()
