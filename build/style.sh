#!/bin/sh
# Checks what no compiler does: blanks at the end of lines, tabs, lines over
# 80 columns and // comments in C; blanks at the end of lines elsewhere.

set -u

cd "$(dirname "$0")/.." || exit 1
bad=0

# Usage: refuse TEXT PATTERN FILE...
refuse() {
    text=$1 pattern=$2
    shift 2
    if [ $# -gt 0 ] && grep -nHP "$pattern" "$@"; then
        echo "  ($text)"
        bad=1
    fi
}

files() {
    find apache build cshim examples goapp module nginx README.md \
        -path build/out -prune -o -path '*/testdata/*' -prune \
        -o -path '*/corpus/*' -prune -o -type f \( "$@" \) -print
}

# shellcheck disable=SC2046 # none of our names has a blank in it
{
    refuse 'blanks at the end of a line' '[ \t]+$' \
        $(files -name '*.[ch]' -o -name '*.sh' -o -name '*.mk' \
            -o -name '*.md' -o -name '*.conf' -o -name '*.awk')
    set -- $(files -name '*.[ch]')
    refuse 'a tab' '\t' "$@"
    refuse 'over 80 columns' '^.{81}' "$@"
    refuse 'a // comment' '^([^"]|"([^"\\]|\\.)*")*(?<!:)//' "$@"
}

# Links to files that are not there.
for page in README.md */*.md; do
    links=$(grep -oE '\]\([^)#:]+[)#]' "$page" | sed 's/^](//; s/.$//')
    for link in $links; do
        if [ ! -e "$(dirname "$page")/$link" ]; then
            echo "$page: $link is not there"
            bad=1
        fi
    done
done

# Tests that the table of hazards names and nobody has.
tests=$(files -name '*_test.go' -o -name 'test_*.c')
grep -o '`[^`]*`' cshim/HAZARDS.md | tr -d '`' | sort -u | while read -r test; do
    case $test in
    Test* | Fuzz*) pattern="^func $test(" ;;
    *": "* | *_*_*_*) pattern="\"$test\"" ;;
    *) continue ;;
    esac
    # shellcheck disable=SC2086 # a list
    if ! grep -q -e "$pattern" $tests; then
        echo "cshim/HAZARDS.md: there is no test $test"
        exit 1
    fi
done || bad=1
exit $bad
