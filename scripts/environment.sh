# The checkout's own Python environment, .venv: is it there and up to date?
# Sourced by ./mmsup, ./test and scripts/setup-environment, which set `root` (the checkout, absolute). POSIX sh.
#
# Marks within .venv:
#   .mmsup-run, .mmsup-dev   stamps: the environment was made, without or with the developers' tools, for what they say
#   .mmsup-unfinished        it is being made, or that was interrupted
# shellcheck shell=sh

# shellcheck disable=SC2154  # the sourcing script sets it
venv=$root/.venv

# Where the environment's scripts point to: they break when the checkout moves or the system's Python is replaced.
environment_place() {
    printf '%s\n' "$root $(readlink -f -- "$venv/bin/python")"
}

# What an up-to-date stamp says: the place, and a check sum of what is to be installed.
environment_stamp() {
    environment_place
    cksum <"$root/pyproject.toml"
}

# environment_ready run|dev
environment_ready() {
    [ -x "$venv/bin/python" ] && [ ! -e "$venv/.mmsup-unfinished" ] && [ -f "$venv/.mmsup-$1" ] &&
        [ "$(cat "$venv/.mmsup-$1")" = "$(environment_stamp)" ]
}

# ensure_environment run|dev: returns at once when it is ready; else makes it, or ends the caller with a line that says why not.
ensure_environment() {
    environment_ready "$1" || sh "$root/scripts/setup-environment" "$1" </dev/null || exit
}
