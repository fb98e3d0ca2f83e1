#!/bin/sh
# Usage: replace.sh FROM TO
#
# Puts FROM in the place of TO at one stroke: a server may have TO mapped.

set -eu

cp "$1" "$2.new"
mv "$2.new" "$2"
