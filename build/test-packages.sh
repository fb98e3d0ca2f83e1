#!/bin/bash
# packages.sh: no service is started or enabled by what it installs, whatever
# policy there was before, and that policy is back in place afterwards.  What
# it calls is played by scripts here.

. "$(dirname "$0")/test-lib.sh"

export PACKAGES_ROOT=$tmp/root
policy=$PACKAGES_ROOT/usr/sbin/policy-rc.d
wants=$PACKAGES_ROOT/etc/systemd/system/multi-user.target.wants
rc=$PACKAGES_ROOT/etc/rc2.d

mkdir "$tmp/bin"
PATH=$tmp/bin:$PATH

play() {
    cat > "$tmp/bin/$1"
    chmod 755 "$tmp/bin/$1"
}

play id << END
#!/bin/sh
echo 0
END

play dpkg-query << END
#!/bin/sh
for last; do :; done
grep -qx "\$last" $tmp/installed && echo installed
END

# Installs, enables as the scripts of a package do, and starts the service
# unless the policy says no.
play apt-get << END
#!/bin/sh
echo "apt-get \$*" >> $tmp/calls
case \$* in
*update) touch $tmp/lists; exit ;;
esac
[ -e $tmp/lists ] || exit 100
[ ! -e $tmp/broken ] || exit 100
[ ! -e $tmp/slow ] || { touch $tmp/begun; sleep 5; }
ln -sf /x $wants/new.service
ln -sf /x $rc/S01new
$policy new start
[ \$? -eq 101 ] || echo started >> $tmp/calls
echo new >> $tmp/installed
END

play deb-systemd-helper << END
#!/bin/sh
echo "\$*" >> $tmp/calls
[ -n "\$DPKG_MAINTSCRIPT_PACKAGE" ] && rm $wants/\$2
END

play update-rc.d << END
#!/bin/sh
echo "update-rc.d \$*" >> $tmp/calls
rm -f $rc/S01\$1
END

fresh() {
    say "$1"
    rm -rf "$PACKAGES_ROOT" "$tmp/slow" "$tmp/broken" "$tmp/begun"
    mkdir -p "${policy%/*}" "$wants" "$rc"
    ln -s /x "$wants/old.service"
    ln -s /x "$rc/S01old"
    echo old > "$tmp/installed"
    : > "$tmp/calls"
}

install() {
    "$root/build/packages.sh" old new > "$tmp/packages.log" 2>&1
}

# What has to be so after every installation.
quiet() {
    if grep -qx started "$tmp/calls"; then
        fail "a service was started"
    fi
    [[ -L $wants/old.service && -L $rc/S01old ]] \
        || fail "a service that was enabled is not any more"
    [[ ! -L $wants/new.service && ! -L $rc/S01new ]] \
        || fail "a service is enabled"
    [[ ! -e $policy.before-gsgi && ! -e $policy.new ]] \
        || fail "something is left beside the policy"
}

permit() {
    printf '#!/bin/sh\n# of somebody else\nexit 0\n' > "$policy"
    chmod 755 "$policy"
}

# Usage: interrupt SIGNAL: an installation, in its middle.
interrupt() {
    permit
    touch "$tmp/slow"
    setsid "$root/build/packages.sh" new > "$tmp/packages.log" 2>&1 &
    until [[ -e $tmp/begun ]]; do
        sleep 0.1
    done
    kill "-$1" -- -$!
    wait $! || true
}

fresh "no policy, no lists of packages"
rm -f "$tmp/lists"
install
quiet
[[ ! -e $policy ]] || fail "a policy is left"
(($(grep -c '^apt-get' "$tmp/calls") == 3)) || fail "apt-get: wrong calls"

say "nothing is missing"
: > "$tmp/calls"
install
[[ ! -s $tmp/calls ]] || fail "something is called"

fresh "a policy that permits"
permit
install
quiet
grep -q 'somebody else' "$policy" || fail "the policy is not back"

fresh "a policy that forbids"
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod 755 "$policy"
install
quiet
[[ $(cat "$policy") == $'#!/bin/sh\nexit 101' ]] || fail "the policy changed"

fresh "an installation that fails"
permit
touch "$tmp/broken"
if install; then
    fail "it is taken for a success"
fi
quiet
grep -q 'somebody else' "$policy" || fail "the policy is not back"

fresh "an installation that is ended"
interrupt TERM
quiet
grep -q 'somebody else' "$policy" || fail "the policy is not back"

fresh "after one that was killed"
interrupt KILL
rm "$tmp/slow"
install
quiet
grep -q 'somebody else' "$policy" || fail "the policy is not back"
