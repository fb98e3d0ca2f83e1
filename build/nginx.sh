#!/bin/bash
# Usage: nginx.sh SOURCE OUT CFLAGS
#
# Configures the module in OUT/nginx, with the flags that the distribution's
# NGINX was built with, or with those of the installed nginx that change what
# the module does.  NGINX's configure writes into the directory that it is run
# in, so that is OUT/nginx-src, links to the SOURCE that belongs to the system.

set -eu

source=$1 out=$(cd "$2" && pwd) cflags=$3
module=$(cd "$(dirname "$0")/../nginx" && pwd)

if [ ! -f "$source/configure" ]; then
    echo "make: $source is no NGINX source tree: set NGINX_SRC" >&2
    exit 1
fi

installed() {
    PATH=$PATH:/usr/sbin nginx -V 2>&1 | tr ' ' '\n' \
        | grep -Ex -- '--with-http_(ssl|v2|v3)_module' || true
}

rm -rf "$out/nginx-src" "$out/nginx"
mkdir "$out/nginx-src"
ln -s "$source"/* "$out/nginx-src/"
cd "$out/nginx-src"

if [ -f conf_flags ]; then
    # shellcheck disable=SC1091 # of the package nginx-dev
    . ./conf_flags
else
    mapfile -t NGX_CONF_FLAGS < <(installed)
    NGX_CONF_FLAGS+=(--with-compat --with-threads)
fi
./configure "${NGX_CONF_FLAGS[@]}" --builddir="$out/nginx" \
    --with-cc-opt="-fPIC $cflags" --add-dynamic-module="$module" \
    > "$out/nginx-configure.log" 2>&1 \
    || { tail -n 20 "$out/nginx-configure.log" >&2; exit 1; }
