#!/bin/bash
# Usage: warnings.sh [host|nginx|apache|python]...
#
# Compiles our C with all warnings as errors; nothing is kept.  The servers'
# own headers are not looked at.

set -eu

cd "$(dirname "$0")/.."
parts=("$@")
((${#parts[@]} > 0)) || parts=(host nginx apache python)

flags=(-std=gnu99 -O2 -Wall -Wextra -Wno-unused-parameter -Wpointer-arith
    -Wstrict-prototypes -Wmissing-prototypes -Wdeclaration-after-statement
    -Wformat -Wformat-security -Werror -fsyntax-only)

system() {
    local d
    for d; do
        flags+=(-isystem "$d")
    done
}

for part in "${parts[@]}"; do
    case $part in
    host)
        files=(cshim/host/*.c)
        ;;
    nginx)
        files=(nginx/*.c)
        s=${NGINX_SRC:-/usr/share/nginx/src}/src
        system "$s"/{core,event,event/modules,event/quic,os/unix} \
            "$s"/{http,http/modules,http/v2,http/v3} build/out/nginx
        ;;
    python)
        files=(goapp/wsgi/*.c)
        # shellcheck disable=SC2046 # directories
        system $(pkg-config --cflags-only-I python3-embed | sed 's/-I//g')
        flags+=(-D_GNU_SOURCE -Icshim)
        ;;
    apache)
        files=(apache/*.c)
        # shellcheck disable=SC2046 # flags of the compiler
        set -- $(apxs -q EXTRA_CPPFLAGS)
        flags+=("$@")
        system "$(apxs -q INCLUDEDIR)" "$(apxs -q APR_INCLUDEDIR)" \
            "$(apxs -q APU_INCLUDEDIR)"
        ;;
    esac
    for file in "${files[@]}"; do
        "${CC:-gcc}" "${flags[@]}" -Icshim/host -Inginx "$file"
    done
done
