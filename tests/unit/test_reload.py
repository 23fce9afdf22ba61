from __future__ import annotations

import random

import pytest

from core.errors import Conflict
from workers.child import EXIT_CONFIG, Child, Exit
from workers.reload import Reload
from workers.roster import WorkerSpec


def up(name: str) -> Child:
    child = Child(WorkerSpec(name, "nowhere"), random.Random(1))
    child.start(0.0)
    child.spawned(0.0)
    child.beat(0.0)
    return child


def come_back(child: Child) -> None:
    child.exited(1.0, Exit.of(0))
    child.spawned(1.0)
    child.beat(1.0)


def test_the_next_one_waits_until_the_last_one_is_ready_again() -> None:
    children = {"one": up("one"), "two": up("two")}
    reload = Reload(children)
    assert reload.begin() == ["one", "two"]
    assert reload.next() == "one"
    assert reload.next() is None, "it was not even asked to stop yet"
    children["one"].restart(0.5)
    assert reload.next() is None
    come_back(children["one"])
    assert reload.next() == "two"
    assert reload.status() == {"at": "two", "left": [], "failed": None}
    children["two"].restart(2.0)
    come_back(children["two"])
    assert reload.next() is None
    assert reload.status() == {"at": None, "left": [], "failed": None}


def test_one_that_does_not_come_back_ends_it() -> None:
    children = {"one": up("one"), "two": up("two")}
    reload = Reload(children)
    reload.begin()
    reload.next()
    children["one"].restart(0.5)
    children["one"].exited(1.0, Exit.of(0))
    children["one"].spawned(1.0)
    children["one"].exited(1.5, Exit.of(EXIT_CONFIG))
    assert reload.next() is None
    assert reload.status() == {"at": None, "left": [], "failed": "one is fatal: a setting is wrong"}
    assert children["two"].starts == 1


def test_a_worker_that_somebody_stopped_stays_stopped() -> None:
    children = {"one": up("one"), "two": up("two")}
    children["one"].stop(0.5)
    children["one"].exited(0.6, Exit.of(0))
    assert Reload(children).begin() == ["two"]


def test_there_is_one_reload_at_a_time() -> None:
    reload = Reload({"one": up("one")})
    reload.begin()
    reload.next()
    with pytest.raises(Conflict, match="at one"):
        reload.begin()
    reload.cancel()
    assert reload.begin() == ["one"]
