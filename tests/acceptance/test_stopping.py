"""stop-all while a phone rings: it rings to its end, and whoever picks up is talked to."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.timeout(200)


def test_who_picks_up_while_orch_is_being_stopped_is_talked_to(install: Any) -> None:
    daemon = install().start()
    phone = "+12025550186"
    call = daemon.call_now(daemon.contact("Tina", phone, "short"))
    daemon.until(lambda: [each.status for each in daemon.carried(phone)] == ["ringing"], "the ringing")
    stopped = daemon.orch("stop-all", "--timeout", "90", seconds=120)
    assert stopped.returncode == 0, stopped.stderr
    assert [each.status for each in daemon.carried(phone)] == ["completed"]
    ((state, outcome),) = daemon.sql(
        "SELECT c.state, a.outcome FROM scheduled_calls c JOIN attempts a ON a.scheduled_call_id = c.id WHERE c.id = ?", call
    )
    # The run's last step may be the next start's; what was said and what came of it is not.
    assert (state in {"in_progress", "completed"}, outcome) == (True, "answered")
    assert daemon.sql("SELECT count(*) FROM journal_entries WHERE scheduled_call_id = ?", call) == [(1,)]
