# Sourced by start-all.sh, stop-all.sh and test-all.sh with `root` set to the checkout: makes .venv what the lock says.
# shellcheck shell=bash

venv="$root/.venv"
# Without byte code each of orch's processes would compile everything it imports anew, at every start.
unset PYTHONDONTWRITEBYTECODE

orch_fail() {
    printf 'orch: %s\n' "$1" >&2
    exit "${2:-1}"
}

orch_find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# What the environment was made from: another lock, other project data or another checkout path make it stale.
orch_stamp() {
    { cat "$root/requirements.lock" "$root/pyproject.toml"; printf '%s' "$root"; } | "$venv/bin/python" -c '
import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read() + sys.version.encode()).hexdigest())'
}

orch_install() {
    local requirements="$root/requirements.lock"
    if [ ! -x "$venv/bin/uv" ]; then
        # uv turns minutes into seconds; where it cannot be had, pip does the same work.
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1 || true
    fi
    if [ -x "$venv/bin/uv" ]; then
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes --requirement "$requirements" &&
            "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable "$root"
    else
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$requirements" &&
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$root"
    fi
}

orch_setup() {
    local python stamp
    if [ -x "$venv/bin/python" ] && [ -f "$venv/orch-stamp" ] && [ "$(cat "$venv/orch-stamp")" = "$(orch_stamp)" ]; then
        return 0
    fi
    # Two starts at once must not install into each other.
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$root"
        flock 9
        if [ -x "$venv/bin/python" ] && [ -f "$venv/orch-stamp" ] && [ "$(cat "$venv/orch-stamp")" = "$(orch_stamp)" ]; then
            exec 9<&-
            return 0
        fi
    fi
    if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python="$(orch_find_python)" ||
            orch_fail "Python 3.11 or newer is needed; found: $(python3 --version 2>/dev/null || echo none). On Debian: apt install python3 python3-venv"
        printf 'orch: creating .venv with %s\n' "$("$python" --version)" >&2
        "$python" -m venv --clear "$venv" ||
            orch_fail "$python cannot create a virtual environment; on Debian: apt install python3-venv"
    fi
    printf 'orch: installing what requirements.lock lists into .venv\n' >&2
    orch_install || orch_fail 'the installation failed; what is written above says why, and the next start tries again'
    stamp="$(orch_stamp)"
    printf '%s\n' "$stamp" >"$venv/orch-stamp"
    exec 9<&-
}
