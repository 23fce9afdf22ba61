#!/usr/bin/env bash
# Every check and every test. Arguments go to pytest: ./test-all.sh tests/unit -k windows
# With ORCH_REQUIRE_ALL=1 a missing optional part (such as PostgreSQL's server) is a failure rather than a skip.
set -euo pipefail
self="$(readlink -f "${BASH_SOURCE[0]}")"
root="$(dirname "$self")"
. "$root/scripts/setup.sh"
orch_setup
cd "$root"

run() {
    printf '== %s\n' "$*" >&2
    "$@"
}

run "$venv/bin/ruff" check
run "$venv/bin/ruff" format --check
run "$venv/bin/mypy"
run "$venv/bin/lint-imports"

# A module's daemon is started by one process, not by both.
options=(-n 2 --dist loadfile)
if [ "${ORCH_REQUIRE_ALL:-}" = 1 ]; then
    options+=(--require-all)
fi
run "$venv/bin/python" -m pytest "${options[@]}" "$@"
