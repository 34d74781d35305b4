# Installing what the system lacks. Sourced by scripts that set `root` (the checkout, absolute). POSIX sh.
# shellcheck shell=sh

# The exit status that says: the environment cannot be set up (docs/exit-codes.md).
setup_failed=69
# shellcheck disable=SC2154  # the sourcing script sets root
log=$root/.cache/setup.log

say() {
    printf 'mmsup: %s\n' "$*" >&2
}

fail() {
    say "$@"
    exit "$setup_failed"
}

# apt_install PACKAGE...: false where that is not ours to do (no root, no apt) or does not work.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing $* (apt-get)"
    mkdir -p "$(dirname -- "$log")"
    # The package lists of a fresh system are empty, those of an old one stale: renew them if they do not do.
    apt_get install "$@" || { apt_get update && apt_get install "$@"; }
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o APT::Install-Recommends=false "$@" \
        </dev/null >>"$log" 2>&1
}
