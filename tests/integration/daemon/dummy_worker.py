"""A worker for tests of the supervisor: it does as its first argument says and needs nothing of orch but the pipe.

steady | calm | crash AFTER_SECONDS | refuse | hang | silent | drain SECONDS | stubborn | family | serve STARTS_AFTER_SECONDS |
calls NUMBER. All send a heartbeat each 0.05 s, except calm, which sends one a second as real workers do.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("behaviour")
    parser.add_argument("number", nargs="?", type=float, default=0.0)
    parser.add_argument("--heartbeat-fd", type=int)
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument("--parent-pid", type=int)
    parser.add_argument("--drain-seconds", type=float)
    given = parser.parse_args()
    faulthandler.enable()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    stop_at: list[float] = []
    drain = given.number if given.behaviour == "drain" else 0.0

    def stop(_number: int, _frame: object) -> None:
        stop_at.append(time.monotonic() + drain)

    held: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: held.append(number))

    def stop_now(_number: int, _frame: object) -> None:
        stop_at[:] = [0.0]

    signal.signal(signal.SIGTERM, signal.SIG_IGN if given.behaviour == "stubborn" else stop)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN if given.behaviour == "stubborn" else stop_now)
    if given.behaviour == "refuse":
        sys.stderr.write("orch: ORCH_PORT=banana is not allowed\n")
        return 78
    if given.behaviour == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        sys.stdout.write(f"child {child.pid}\n")
        sys.stdout.flush()
    server = socket.socket(fileno=given.listen_fd) if given.behaviour == "serve" else None
    if server is not None:
        time.sleep(given.number)  # as slow to come up as a real server
        server.settimeout(0.05)
    in_flight = int(given.number) if given.behaviour == "calls" else 1 if drain else 0
    began = time.monotonic()
    while not (stop_at and time.monotonic() >= min(stop_at)):
        if given.behaviour == "crash" and time.monotonic() - began >= given.number:
            sys.stderr.write("it went wrong\n")
            return 1
        if given.behaviour != "silent":
            os.write(given.heartbeat_fd, beat(bool(held or stop_at), in_flight))
        if given.behaviour == "hang":
            time.sleep(600)
        if server is None:
            time.sleep(1.0 if given.behaviour == "calm" else 0.05)
            continue
        with contextlib.suppress(TimeoutError):
            client, _ = server.accept()
            with client:
                client.sendall(f"{os.getpid()}\n".encode())
    return 0


def beat(draining: bool, in_flight: int) -> bytes:
    return json.dumps({"state": "draining" if draining else "ready", "in_flight": in_flight}).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
