# Functions that the test-*.sh share.  They set tmp, a directory that the
# workers can read and that is removed at the end, and end what is in pids.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # not all of them use it
out=$root/build/out
PATH=$PATH:/usr/sbin:/sbin
tmp=$(mktemp -d /tmp/gsgi-test.XXXXXX)
chmod 755 "$tmp"
pids=()

finish() {
    local rc=$? pid
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2> /dev/null || true
    done
    wait
    if ((rc != 0)); then
        tail -n 30 "$tmp"/*.log 2> /dev/null || true
    fi
    rm -rf "$tmp"
    exit "$rc"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

say() {
    printf '%s\n' "$*"
}

fail() {
    say "$*"
    exit 1
}

taken() {
    (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        if ! taken "$port"; then
            echo "$port"
            return
        fi
    done
}

# Usage: want TEXT URL [CURL OPTION...]: waits until the answer contains TEXT.
want() {
    local text=$1 url=$2 answer='' deadline=$((SECONDS + 60))
    shift 2
    while ((SECONDS < deadline)); do
        answer=$(curl -s -m 20 "$@" "$url") || true
        if [[ $answer == *"$text"* ]]; then
            return
        fi
        sleep 0.1
    done
    fail "$url gives $answer and not $text"
}

root_only() {
    if ((EUID == 0)); then
        "$@"
    fi
}
