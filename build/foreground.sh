#!/bin/bash
# Usage: foreground.sh COMMAND...
#
# Gives the terminal to the command alone, so that Ctrl-C ends it and not make
# with a complaint.  Should this script be killed, the command goes with it.

if [[ ! -t 0 ]]; then
    exec "$@"
fi
set -m
setpriv --pdeathsig TERM -- "$@"
