#!/bin/bash
# Usage: apache.sh APXS OUT CFLAGS
#
# Builds mod_gsgi.so in OUT/apache.  apxs puts objects beside their sources,
# so that is a tree of links to the sources.

set -eu

apxs=$1 out=$2/apache cflags=$3
root=$(cd "$(dirname "$0")/.." && pwd)

if ! command -v "$apxs" > /dev/null; then
    echo "make: $apxs is missing: it is of the package apache2-dev" >&2
    exit 1
fi

rm -rf "$out"
mkdir -p "$out/apache" "$out/cshim/host"
ln -s "$root"/apache/*.[ch] "$out/apache/"
ln -s "$root"/cshim/*.h "$out/cshim/"
ln -s "$root"/cshim/host/*.[ch] "$out/cshim/host/"
cd "$out"

options=(-Icshim/host)
for flag in $cflags; do
    options+=("-Wc,$flag")
done
"$apxs" -c "${options[@]}" -o mod_gsgi.la apache/*.c cshim/host/*.c -ldl \
    > build.log 2>&1 || { cat build.log >&2; exit 1; }
cp .libs/mod_gsgi.so mod_gsgi.so
