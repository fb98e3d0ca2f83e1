#!/bin/sh
# Usage: go.sh ARGUMENT...
#
# Runs go: the one that GO names, the one in PATH, or /usr/local/go/bin/go.
# One that is older than go.mod asks for is refused.

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
need=$(sed -n 's/^go //p' "$root/go.mod")

go=${GO:-$(command -v go || true)}
case $go in
*go.sh) go= ;;                  # it would call itself for ever
esac
if [ -z "$go" ] && [ -x /usr/local/go/bin/go ]; then
    go=/usr/local/go/bin/go
fi
if [ -z "$go" ]; then
    echo "make: Go is missing, and $need or newer is needed:" \
        "see https://go.dev/doc/install" >&2
    exit 1
fi

if ! have=$(cd / && GOTOOLCHAIN=local "$go" env GOVERSION); then
    echo "make: $go does not run" >&2
    exit 1
fi
have=${have#go}
case $have in
devel*) oldest=$need ;;
*) oldest=$(printf '%s\n%s\n' "$need" "${have%%[!0-9.]*}" | sort -V | head -n 1) ;;
esac
if [ "$oldest" != "$need" ]; then
    echo "make: Go $need or newer is needed, but $go is $have:" \
        "see https://go.dev/doc/install" >&2
    exit 1
fi

usable() {
    case $1 in
    /*) mkdir -p "$1" 2>/dev/null && [ -w "$1" ] ;;
    *) false ;;
    esac
}

# A user without a home of its own builds in build/out.
if ! usable "$("$go" env GOCACHE 2>/dev/null)"; then
    export GOCACHE="$root/build/out/go/cache"
fi
if ! usable "$("$go" env GOMODCACHE 2>/dev/null)"; then
    export GOMODCACHE="$root/build/out/go/mod"
fi

# A clone that belongs to another user cannot be asked for its revision.
case " ${GOFLAGS:-} " in
*" -buildvcs="*) ;;
*) export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false" ;;
esac

exec "$go" "$@"
