#!/bin/sh
# Usage: packages.sh PACKAGE...
#
# Installs the Debian packages that are missing, and no service of theirs is
# started or enabled: a policy forbids to start while apt-get runs, and what
# their scripts enable is disabled again.

set -eu

root=${PACKAGES_ROOT:-}         # another root directory, for the tests
policy=$root/usr/sbin/policy-rc.d
aside=$policy.before-gsgi
mark='# put here by gsgi, for the time of an installation'

say() {
    printf '%s\n' "$*" >&2
}

missing() {
    for p; do
        dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null \
            | grep -qx installed || printf ' %s' "$p"
    done
}

# What makes a service start with the machine: links of systemd and of init.
enabled() {
    ls -d "$root"/etc/systemd/system/*.wants/* "$root"/etc/rc[2-5].d/S* \
        2>/dev/null || true
}

forbidden() {
    [ -x "$policy" ] || return 1
    rc=0
    "$policy" gsgi-policy-test start >/dev/null 2>&1 || rc=$?
    [ "$rc" -eq 101 ]
}

forbid() {
    if grep -qsF "$mark" "$policy"; then
        restore                  # left by a run that was killed
    fi
    if forbidden; then
        return
    fi
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        mv "$policy" "$aside"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy.new"
    chmod 755 "$policy.new"
    mv "$policy.new" "$policy"
}

restore() {
    if grep -qsF "$mark" "$policy"; then
        rm -f "$policy"
    fi
    if [ -e "$aside" ] || [ -L "$aside" ]; then
        mv "$aside" "$policy"
    fi
}

# Disables every service that is enabled now and is not listed in $1.
disable_new() {
    enabled | while read -r link; do
        case "
$1
" in *"
$link
"*) continue ;; esac
        unit=${link##*/}
        case $link in
        */etc/systemd/*)
            DPKG_MAINTSCRIPT_PACKAGE=gsgi deb-systemd-helper disable "$unit" \
                >/dev/null || true
            ;;
        *)
            update-rc.d "${unit#S??}" disable >/dev/null || true
            ;;
        esac
    done
}

install_as_root() {
    before=$(enabled)
    # a link that is there already stays enabled
    trap 'restore; disable_new "$before"' EXIT
    trap 'exit 1' HUP INT TERM
    forbid
    export DEBIAN_FRONTEND=noninteractive
    set -- apt-get -q -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install "$@"
    # the lists of packages may be missing or too old: fetch them only then
    if ! "$@"; then
        apt-get -q update
        "$@"
    fi
}

main() {
    if ! command -v dpkg-query >/dev/null; then
        say "make: packages are only installed on Debian and what derives" \
            "from it; see build/packages.mk, and use PACKAGES=no when you" \
            "have them by other means"
        exit 1
    fi
    list=$(missing "$@")
    if [ -z "$list" ]; then
        return
    fi
    if [ "$(id -u)" -eq 0 ]; then
        say "installing:$list"
        # shellcheck disable=SC2086 # names, separated by blanks
        install_as_root $list
    elif command -v sudo >/dev/null; then
        say "installing with sudo:$list"
        # shellcheck disable=SC2086
        exec sudo -- "$0" $list
    else
        say "make: these packages are missing, and there is no sudo; as root:"
        say "    $0$list"
        exit 1
    fi
}

main "$@"
