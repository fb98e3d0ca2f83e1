#!/bin/bash
# Usage: debian.sh SUITE [GOAL...]
#
# Runs make GOAL..., by default make test, in another release of Debian, as
# somebody would who has just cloned what is committed here: root, Go, make
# and git, and nothing else.  The release is installed into
# build/out/debian-SUITE from where this machine gets its own; what the goals
# install there stays for the next time.

set -euo pipefail

cd "$(dirname "$0")/.."
suite=$1
shift
(($# > 0)) || set -- test
root=$PWD/build/out/debian-$suite
PATH=$PATH:/usr/sbin:/sbin

# A line for each of the archives that this release comes from.
sources() {
    # shellcheck disable=SC1091
    . /etc/os-release
    # shellcheck disable=SC2016 # apt-get fills it in
    apt-get indextargets --format '$(SITE) $(RELEASE)' \
        | awk -v old="$VERSION_CODENAME" -v new="$suite" \
            'sub("^" old, new, $2) && !seen[$0]++ { print "deb", $1, $2, "main" }'
}

bootstrap() {
    local mirror script=/usr/share/debootstrap/scripts/$suite
    build/packages.sh debootstrap
    [ -e "$script" ] || script=${script%/*}/sid     # newer than this system
    mirror=$(sources | awk -v suite="$suite" '$3 == suite { print $2; exit }')
    debootstrap --variant=minbase --include=ca-certificates,git,make \
        "$suite" "$root.new" "$mirror" "$script"
    rm -f "$root.new"/etc/apt/sources.list.d/*
    sources > "$root.new/etc/apt/sources.list"
    cp -r /etc/apt/apt.conf.d/. "$root.new/etc/apt/apt.conf.d/"
    mkdir -p "$root.new/usr/local/go"
    : > "$root.new/go.mod"       # what is inside is not of our module
    mv "$root.new" "$root"
    chroot "$root" apt-get -q update
}

# Processes and mounts of its own, which end with it.
enter() {
    # shellcheck disable=SC2016 # for the shell inside
    unshare --mount --pid --fork --kill-child bash -euc '
        root=$1 go=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        mount --bind "$go" "$root/usr/local/go"
        exec chroot "$root" "$@"' - "$root" "$@"
}

[ -d "$root" ] || bootstrap
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp -r /etc/ssl/certs/. "$root/etc/ssl/certs/"
settings=$(build/go.sh env GOENV)
if [ -f "$settings" ]; then
    install -D "$settings" "$root/root/.config/go/env"
fi
rm -rf "$root/root/gsgi"
git clone -q . "$root/root/gsgi"

enter "$(build/go.sh env GOROOT)" env -i HOME=/root TERM=dumb \
    PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    make -C /root/gsgi "$@"
