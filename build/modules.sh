#!/bin/bash
# Usage: modules.sh OUT [CFLAG...]
#
# Builds both server modules in OUT, with flags of their own: for a sanitizer,
# or to try something without touching build/out.

set -eu

mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."

build/nginx.sh "${NGINX_SRC:-/usr/share/nginx/src}" "$out" "-O2 -g $*"
make --no-print-directory -s -C "$out/nginx-src" -f "$out/nginx/Makefile" modules
mv "$out/nginx/ngx_http_gsgi_module.so" "$out/"

build/apache.sh "${APXS:-apxs}" "$out" "-O2 -g $*"
mv "$out/apache/mod_gsgi.so" "$out/"
