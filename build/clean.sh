#!/bin/sh
# Removes what the other targets have made.

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
run=$root/build/out/run

if [ -e "$run/lock" ] && ! flock -n "$run/lock" true; then
    echo "make clean: make run is running: stop it first" >&2
    exit 1
fi

# The state of a clone that only root can enter lies elsewhere.
if [ -L "$run/state" ]; then
    state=$(readlink "$run/state")
    case $state in
    /var/tmp/gsgi-run.*) rm -rf "$state" ;;
    esac
fi

# Go makes its module cache read-only.
if [ -d "$root/build/out/go" ]; then
    chmod -R u+w "$root/build/out/go"
fi
rm -rf "$root/build/out"
