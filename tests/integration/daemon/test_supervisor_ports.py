"""Listening sockets: they outlive a restart, and do not outlive a worker that will not come back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.control import ask


def roster_entry(port: int, *command: object) -> dict[str, Any]:
    return {"command": command, "listen": {"host": "127.0.0.1", "port": port}}


def answer_of(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client, client.makefile() as lines:
        return lines.readline().strip()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def calling(port: int) -> Iterator[list[str]]:
    """Somebody who connects again and again. Yields what was answered; a connection that came to nothing is an empty text."""
    answers: list[str] = []
    enough = threading.Event()

    def call() -> None:
        while not enough.is_set():
            try:
                answers.append(answer_of(port))
            except OSError as error:
                answers.append("")
                answers.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        yield answers
    finally:
        enough.set()
        for caller in callers:
            caller.join()


def test_no_connection_attempt_is_lost_while_a_server_is_restarted(daemon: Any, free_port: int) -> None:
    daemon.start(web=roster_entry(free_port, "serve", 0.3))
    before = daemon.wait_state("web", "running")["pid"]
    with calling(free_port) as answers:
        daemon.wait_for(lambda: str(before) in answers, "an answer of the first process")
        ask(daemon.run, {"do": "restart", "worker": "web"})
        daemon.wait_for(lambda: any(answer not in {"", str(before)} for answer in answers), "an answer of the second process")
    assert "" not in answers


def test_a_server_that_was_given_up_refuses_instead_of_letting_people_wait(daemon: Any, free_port: int) -> None:
    daemon.start(web=roster_entry(free_port, "refuse"), good=("steady",))
    daemon.wait_state("web", "fatal")
    daemon.wait_for(lambda: refuses(free_port), "the port to be closed", 5)
    (closed,) = daemon.events("worker.port_closed")
    assert (closed["worker_name"], closed["listen"]) == ("web", f"127.0.0.1:{free_port}")


def test_a_stopped_server_gives_its_port_back_and_takes_it_again(daemon: Any, free_port: int) -> None:
    daemon.start(web=roster_entry(free_port, "serve"))
    first = daemon.wait_state("web", "running")["pid"]
    assert answer_of(free_port) == str(first)
    ask(daemon.run, {"do": "stop", "worker": "web"})
    daemon.wait_state("web", "stopped")
    daemon.wait_for(lambda: refuses(free_port), "the port to be closed", 5)
    with socket.create_server(("127.0.0.1", free_port)):
        ask(daemon.run, {"do": "start", "worker": "web"})
        problem = daemon.wait_state("web", "fatal")["problem"]
        assert f"port {free_port} for web is taken by pid" in problem
    ask(daemon.run, {"do": "start", "worker": "web"})
    second = daemon.wait_state("web", "running")
    assert second["problem"] is None
    assert answer_of(free_port) == str(second["pid"])
