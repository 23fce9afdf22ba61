from __future__ import annotations

import pytest

from cli.completion import complete_worker
from cli.names import resolve_worker
from core.errors import InvalidInput
from workers.jobs import JOBS, job_named
from workers.roster import SUPERVISOR, WORKER_NAMES

NAMES = (*WORKER_NAMES, SUPERVISOR)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("webhook-server", "webhook-server"),
        ("Webhook_Server", "webhook-server"),
        ("server", "webhook-server"),
        ("call-worker", "call-scheduler"),
        ("window-worker", "window-scheduler"),
        ("media", "media-server"),
        ("call", "call-scheduler"),
        ("wi", "window-scheduler"),
        ("web", "webhook-server"),
        ("phone", "phone-simulator"),
        ("sup", "supervisor"),
    ],
)
def test_a_worker_is_found_by_name_abbreviation_or_alias(text: str, name: str) -> None:
    assert resolve_worker(text, NAMES) == name


def test_an_ambiguous_abbreviation_names_the_candidates() -> None:
    with pytest.raises(InvalidInput, match="window-scheduler or webhook-server"):
        resolve_worker("w", NAMES)


def test_an_unknown_name_lists_all_and_the_nearest() -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve_worker("medai-server", NAMES)
    assert "did you mean media-server?" in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)


def test_an_alias_counts_only_where_its_worker_exists() -> None:
    with pytest.raises(InvalidInput):
        resolve_worker("server", ("window-scheduler", "call-scheduler"))


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_is_not_a_name(text: str) -> None:
    with pytest.raises(InvalidInput):
        resolve_worker(text, NAMES)


def test_completion_offers_what_fits() -> None:
    assert complete_worker("w") == ["window-scheduler", "webhook-server"]


def test_jobs_are_found_with_either_kind_of_dash() -> None:
    assert job_named("window_scan") == job_named("window-scan")
    assert job_named("window_scan").worker == "window-scheduler"


def test_an_unknown_job_lists_all_and_the_nearest() -> None:
    with pytest.raises(InvalidInput) as caught:
        job_named("call_dispach")
    assert "did you mean call_dispatch?" in str(caught.value)
    assert all(job.name in str(caught.value) for job in JOBS)


def test_every_job_has_a_worker() -> None:
    assert {job.worker for job in JOBS} <= set(WORKER_NAMES)
