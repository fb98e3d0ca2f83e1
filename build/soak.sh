#!/bin/bash
# Usage: soak.sh
#
# What takes its time, with the server modules built with sanitizers: mixed
# traffic of all examples with crashes and reloads for SOAK_MINUTES, then
# 100,000 requests each way, then all tests through the servers.  Ends with
# status 1 when an account does not add up, or something has grown.

set -euo pipefail

cd "$(dirname "$0")/.."
out=$PWD/build/out
export SOAK_MINUTES=${SOAK_MINUTES:-30}
PATH=$("$PWD/build/go.sh" env GOROOT)/bin:$PATH:/usr/sbin:/sbin
export PATH

say() {
    printf '== %s\n' "$*"
}

# Usage: tests OPTION...: go test of the tests through the servers.
tests() {
    (cd examples && go test -count=1 "$@" ./e2e) 2>&1 | tee -a "$out/soak.log" \
        | grep -vE '^(=== |--- PASS| +--- PASS| +[a-z_]+_test\.go:[0-9]+: *$|PASS$)'
}

: > "$out/soak.log"
say "modules with sanitizers"
build/modules.sh "$out/asan" -fsanitize=address,undefined \
    -fno-sanitize-recover=undefined -fno-omit-frame-pointer
export GSGI_SANITIZERS=yes GSGI_GOEXPERIMENT=cgocheck2
export GSGI_NGINX_MODULE=$out/asan/ngx_http_gsgi_module.so
export GSGI_APACHE_MODULE=$out/asan/mod_gsgi.so

minutes=$(awk "BEGIN { print int($SOAK_MINUTES * 2) + 20 }")
say "traffic with troubles, $SOAK_MINUTES minutes"
tests -tags soak -v -parallel 16 -run '^TestSoak$' -timeout "${minutes}m"
say "100,000 requests each way"
tests -run '^TestLeaks$' -timeout 60m
say "all tests through the servers"
unset SOAK_MINUTES
tests -timeout 60m
