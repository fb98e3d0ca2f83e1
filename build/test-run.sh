#!/bin/bash
# make run: both servers answer, share the guest book, and end cleanly; also
# from a clone that only root can enter, and for a user who is not root.

. "$(dirname "$0")/test-lib.sh"

nginx_port=$(free_port)
apache_port=$(free_port)
n=http://127.0.0.1:$nginx_port
a=http://127.0.0.1:$apache_port

# Usage: start DIRECTORY [COMMAND...]
start() {
    local dir=$1
    shift
    rm -f "$tmp/run.log"
    "$@" env --default-signal=INT NGINX_PORT="$nginx_port" \
        APACHE_PORT="$apache_port" "$dir/build/run.sh" > "$tmp/run.log" 2>&1 &
    pids=($!)
    local deadline=$((SECONDS + 90))
    until grep -qs '^Ctrl-C' "$tmp/run.log"; do
        kill -0 "${pids[0]}" 2> /dev/null || fail "make run has ended"
        ((SECONDS < deadline)) || fail "make run does not get ready"
        sleep 0.1
    done
}

# Ends it by the signal and looks at what is left.
stop() {
    local rc=0
    kill "-$1" "${pids[0]}"
    wait "${pids[0]}" || rc=$?
    pids=()
    ((rc == 0)) || fail "make run ends with status $rc"
    if taken "$nginx_port" || taken "$apache_port"; then
        fail "a server is still there"
    fi
}

examples_answer() {
    want 'This is net/http in nginx' "$n/hello/"
    want 'This is the gateway interface in Apache' "$a/hello/gateway"
    want '/stream/' "$a/stream" -o /dev/null -w '%{redirect_url}'
    want '/hello/' "$n/hello" -o /dev/null -w '%{redirect_url}'
    want '"bytes":100000' "$a/stream/upload" -T <(head -c 100000 /dev/zero)
    want 100000 "$n/stream/download?bytes=100000" -o /dev/null \
        -w '%{size_download}'
    want "$a/book/ 303" "$a/book/" -d "name=Ann&message=from $1" \
        -o /dev/null -w '%{redirect_url} %{http_code}'
    want "from $1" "$n/"
    want "$n/ 303" "$n/" -d "name=Ann&message=back to $1" -o /dev/null \
        -w '%{redirect_url} %{http_code}'
    want "back to $1" "$a/book/"
    want 'href="/book/static/style.css"' "$a/book/"
    want '.message' "$a/book/static/style.css"
    want 'Django in the web server' "$n/django/"
    want 'login-form' "$a/django/admin/login/"
    want 'messages of yours' "$a/flask/"
    want 'Hello, Ann' "$n/cherrypy/?name=Ann"
    want 'color' "$n/django-static/admin/css/base.css"
    want '"state"' "$n/gsgi-status?format=json"
    want '"state"' "$a/gsgi-status?format=json"
}

clone() {
    mkdir -p "$1/build/out"
    cp -a "$root/build"/*.sh "$1/build/"
    cp -a "$root/examples" "$1/"
    cp -a "$out/examples" "$out"/*.so "$1/build/out/"
}

say "Ctrl-C with an open stream"
clone "$tmp/gsgi"
start "$tmp/gsgi"
examples_answer "a clone"
curl -sN "$n/stream/events" > "$tmp/events.txt" &
curl -sN "$a/stream/events" >> "$tmp/events.txt" &
sleep 1
grep -q '^data:' "$tmp/events.txt" || fail "no event came"
stop INT

say "a taken port is named"
start "$tmp/gsgi"
if NGINX_PORT=$apache_port timeout 60 "$tmp/gsgi/build/run.sh" \
    > "$tmp/second.log" 2>&1; then
    fail "a second run with the same port starts"
fi
grep -q "port $apache_port is taken: .*NGINX_PORT=" "$tmp/second.log" \
    || fail "the taken port is not named"
if NGINX_PORT=$(free_port) APACHE_PORT=$(free_port) \
    timeout 60 "$tmp/gsgi/build/run.sh" > "$tmp/second.log" 2>&1; then
    fail "it runs twice in one directory"
fi
if "$tmp/gsgi/build/clean.sh" > "$tmp/second.log" 2>&1; then
    fail "make clean removes what is running"
fi
stop TERM

for bad in 0 65536 x -1 "$nginx_port"; do
    if APACHE_PORT=$bad NGINX_PORT=$nginx_port \
        timeout 60 "$tmp/gsgi/build/run.sh" > "$tmp/second.log" 2>&1; then
        fail "APACHE_PORT=$bad is accepted"
    fi
done

say "each example by itself"
export EXAMPLE=hello
start "$tmp/gsgi"
want 'This is the gateway interface in nginx' "$n/gateway"
want 'This is net/http in Apache' "$a/"
stop TERM
EXAMPLE=guestbook
start "$tmp/gsgi"
want 'href="/static/style.css"' "$n/"
want 'href="/book/static/style.css"' "$a/book/"
stop TERM
EXAMPLE=stream
start "$tmp/gsgi"
want '"bytes":100000' "$n/upload" -T <(head -c 100000 /dev/zero)
want '"bytes":100000' "$a/upload" -T <(head -c 100000 /dev/zero)
stop TERM
EXAMPLE=none
if timeout 60 "$tmp/gsgi/build/run.sh" > "$tmp/second.log" 2>&1; then
    fail "an example that is none is accepted"
fi
unset EXAMPLE

if ((EUID == 0)); then
    say "a clone that only root can enter"
    mkdir -m 700 "$tmp/closed"
    clone "$tmp/closed/gsgi"
    start "$tmp/closed/gsgi"
    examples_answer "the closed clone"
    stop TERM
    [[ -L $tmp/closed/gsgi/build/out/run/state ]] || fail "the state is inside"
    start "$tmp/closed/gsgi"
    want "from the closed clone" "$n/"
    stop TERM
    "$tmp/closed/gsgi/build/clean.sh"
    [[ ! -e $tmp/closed/gsgi/build/out ]] || fail "make clean leaves something"

    say "a user who is not root"
    clone "$tmp/open"
    chown -R nobody "$tmp/open"
    start "$tmp/open" setpriv --reuid nobody --regid nogroup --clear-groups
    examples_answer "nobody"
    stop TERM
fi
