#!/bin/bash
# Usage: soak.sh
#
# What takes its time, with the server modules built with sanitizers: mixed
# traffic of all examples with crashes and reloads for SOAK_MINUTES, then
# 100,000 requests each way, then all tests through the servers; at last the
# large bodies and many requests of Python, without sanitizers.  Ends with
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

# Usage: tests PACKAGE OPTION...: go test of tests through the servers.
tests() {
    local package=$1
    shift
    (cd examples && go test -count=1 "$@" "$package") 2>&1 | tee -a "$out/soak.log" \
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
tests ./e2e -tags soak -v -parallel 16 -run '^TestSoak$' -timeout "${minutes}m"
say "100,000 requests each way"
tests ./e2e -run '^TestLeaks$' -timeout 60m
say "all tests through the servers"
unset SOAK_MINUTES
tests ./e2e -timeout 60m
say "Python"
unset GSGI_SANITIZERS GSGI_GOEXPERIMENT GSGI_NGINX_MODULE GSGI_APACHE_MODULE
GSGI_FULL=yes tests ./e2e/wsgi -run '^Test(Large|Leaks)$' -timeout 60m
