#!/usr/bin/env bash
# Sets .venv up when needed, then: orch stop-all "$@".
set -euo pipefail
self="$(readlink -f "${BASH_SOURCE[0]}")"
root="$(dirname "$self")"
. "$root/scripts/setup.sh"
orch_setup
exec "$venv/bin/orch" stop-all "$@"
