#!/bin/bash
# Serves one of the examples with a private NGINX and a private Apache until
# Ctrl-C.  Configuration, logs and pid files are in build/out/run.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/build/out
run=$out/run
example=${EXAMPLE:-showcase}
nginx_port=${NGINX_PORT:-8080}
apache_port=${APACHE_PORT:-8081}
PATH=$PATH:/usr/sbin:/sbin

nginx_pid=
apache_pid=
tail_pids=()

fail() {
    printf 'make run: %s\n' "$*" >&2
    exit 1
}

check_ports() {
    local name port
    for name in NGINX_PORT APACHE_PORT; do
        port=${name%_PORT}_port
        port=${port,,}
        port=${!port}
        if [[ ! $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535))
        then
            fail "$name=$port is not a port"
        fi
        if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            fail "port $port is taken: choose another one," \
                "make run $name=$((port % 65535 + 10))"
        fi
    done
    if ((nginx_port == apache_port)); then
        fail "NGINX_PORT and APACHE_PORT are both $nginx_port"
    fi
}

# The workers' user: nobody special when not root.
worker_user() {
    if ((EUID == 0)); then
        echo www-data
    else
        id -un
    fi
}

as_worker() {
    if ((EUID == 0)); then
        runuser -u "$user" -- "$@"
    else
        "$@"
    fi
}

# State lies in build/out/run where the workers can write there; else, as in
# a clone that only root can enter, in /var/tmp, where state is a link to it.
make_state() {
    local old
    state=$run/state
    if [[ -L $state ]]; then
        old=$(readlink "$state")
        if [[ -d $old && ! -L $old && $(stat -c %U "$old") == "$user" ]]; then
            state=$old
            return
        fi
        rm "$state"
    fi
    mkdir -p "$state"
    if ((EUID == 0)); then
        chown "$user" "$state"
    fi
    if as_worker test -w "$state" 2> /dev/null; then
        return
    fi
    rmdir "$state"
    old=$state
    state=$(mktemp -d /var/tmp/gsgi-run.XXXXXX)
    chown "$user" "$state"
    ln -s "$state" "$old"
}

# The Python examples, where the workers can read them, and Django's database
# with a user for the admin.
make_sites() {
    local manage=$state/django/manage.py
    case $example in
    showcase | django | flask | cherrypy) ;;
    *) return ;;
    esac
    (cd "$root/examples" && cp -r django flask cherrypy python "$state/")
    if ((EUID == 0)); then
        chown -R "$user" "$state"/{django,flask,cherrypy,python}
    fi
    case $example in
    showcase | django) ;;
    *) return ;;
    esac
    as_worker /usr/bin/python3 "$manage" migrate -v 0
    DJANGO_SUPERUSER_USERNAME=admin DJANGO_SUPERUSER_PASSWORD=gsgi \
        DJANGO_SUPERUSER_EMAIL=admin@localhost \
        as_worker /usr/bin/python3 "$manage" createsuperuser --noinput \
        > "$run/django.log" 2>&1 || true     # there is one already
}

# The example's own configuration, with the places of this run.
example_conf() {
    local from=$root/examples/$example/$1
    sed -e "s|/srv/gsgi/lib/\([a-z]*\.so\)|\"$out/examples/\1\"|" \
        -e "s|/srv/gsgi/state/\([a-z.]*\)|\"$state/\1\"|" \
        -e "s|/usr/lib/gsgi/gsgi-wsgi.so|\"$out/gsgi-wsgi.so\"|" \
        -e "/^#/!s,/srv/gsgi/\(django\|flask\|cherrypy\|python\),\"$state/\1\"," \
        -e "s|127\.0\.0\.1:8080|127.0.0.1:$nginx_port|" \
        -e "s|127\.0\.0\.1:8081|127.0.0.1:$apache_port|" "$from"
}

nginx_conf() {
    cat << END
load_module "$out/ngx_http_gsgi_module.so";
$( ((EUID != 0)) || echo "user $user;")
worker_processes 2;
daemon off;
pid "$run/nginx.pid";
error_log "$run/nginx-error.log" notice;

events {
    worker_connections 1024;
}

http {
    types {
        text/html html;
        text/css css;
        text/javascript js;
        image/svg+xml svg;
    }
    access_log "$run/nginx-access.log";
    client_body_temp_path "$state/nginx-body";
    proxy_temp_path "$state/nginx-proxy";
    fastcgi_temp_path "$state/nginx-fastcgi";
    uwsgi_temp_path "$state/nginx-uwsgi";
    scgi_temp_path "$state/nginx-scgi";

    gsgi_directory "$state";
    include "$run/nginx-example.conf";
}
END
}

apache_conf() {
    local modules=/usr/lib/apache2/modules m
    for m in mpm_event authn_core authz_core authz_host alias mime dir \
        reqtimeout
    do
        echo "LoadModule ${m}_module $modules/mod_$m.so"
    done
    cat << END
LoadModule gsgi_module "$out/mod_gsgi.so"
ServerRoot "$run"
ServerName localhost
Listen 127.0.0.1:$apache_port
$( ((EUID != 0)) || printf 'User %s\nGroup %s' "$user" "$(id -gn "$user")")
PidFile "$run/apache.pid"
DefaultRuntimeDir "$state"
ErrorLog "$run/apache-error.log"
LogLevel notice gsgi:info
LogFormat "%h %l %u %t \"%r\" %>s %b" common
CustomLog "$run/apache-access.log" common
TypesConfig /dev/null
AddType text/css .css
AddType text/javascript .js
AddType image/svg+xml .svg
ServerLimit 4
MaxRequestWorkers 100
StartServers 1
GracefulShutdownTimeout 5

GSGIDirectory "$state"
Include "$run/apache-example.conf"
END
}

write_conf() {
    example_conf nginx.conf > "$run/nginx-example.conf"
    example_conf apache.conf > "$run/apache-example.conf"
    nginx_conf > "$run/nginx.conf"
    apache_conf > "$run/apache.conf"
    rm -f "$run"/*.log
}

# In sessions of their own, so that Ctrl-C reaches only this script; should it
# be killed, they go with it.
start() {
    setpriv --pdeathsig TERM -- setsid nginx -p "$run" \
        -e "$run/nginx-error.log" -c "$run/nginx.conf" \
        2>> "$run/nginx-start.log" {lock}>&- &
    nginx_pid=$!
    setpriv --pdeathsig TERM -- setsid apache2 -f "$run/apache.conf" \
        -DFOREGROUND -E "$run/apache-start.log" {lock}>&- &
    apache_pid=$!
}

alive() {
    [[ -n $1 ]] && kill -0 "$1" 2> /dev/null
}

# Usage: show_failure SERVER TEXT
show_failure() {
    local server=$1
    echo "make run: $2; its log says:" >&2
    cat "$run/$server-start.log" "$run/$server-error.log" 2> /dev/null \
        | tail -n 20 | sed 's/^/    /' >&2
}

check_servers() {
    local server pid
    for server in nginx apache; do
        pid=${server}_pid
        if ! alive "${!pid}"; then
            show_failure "$server" "$server has ended"
            return 1
        fi
    done
}

# Usage: wait_for SERVER URL
wait_for() {
    local url=$2 deadline=$((SECONDS + 60)) status
    while ((SECONDS < deadline)); do
        check_servers || exit 1
        status=$(curl -s -o /dev/null -m 10 -w '%{http_code}' "$url") || true
        if [[ $status == 200 ]]; then
            return
        fi
        sleep 0.1
    done
    show_failure "$1" "$url gives $status and not 200"
    exit 1
}

# The paths to wait for, in NGINX and in Apache.
paths() {
    case $example in
    guestbook | showcase) echo / /book/ ;;
    *) echo / / ;;
    esac
}

tell() {
    local library=build/out/examples/$example.so
    case $example in
    django | flask | cherrypy) library=build/out/gsgi-wsgi.so ;;
    esac
    local n=http://127.0.0.1:$nginx_port a=http://127.0.0.1:$apache_port
    echo
    echo "Both servers answer, with the same $library:"
    echo
    if [[ $example != showcase ]]; then
        echo "    NGINX   $n$1"
        echo "    Apache  $a$2"
    else
        echo "    guest book  $n/    $a/book/"
        echo "    hello       $n/hello/    $a/hello/"
        echo "    streams     $n/stream/    $a/stream/"
        echo "    Django      $n/django/    $a/django/"
        echo "                (its admin: user admin, password gsgi)"
        echo "    Flask       $n/flask/    $a/flask/"
        echo "    CherryPy    $n/cherrypy/    $a/cherrypy/"
        echo "    status      $n/gsgi-status    $a/gsgi-status"
        echo
        echo "Try:"
        echo
        echo "    curl '$n/hello/?name=you'"
        echo "    curl $a/hello/gateway"
        echo "    curl -d name=Ann -d message=Hello $a/book/    # then open $n/"
        echo "    curl -N $n/stream/events"
        echo "    curl -T /usr/bin/git $a/stream/upload"
        echo "    curl -o /dev/null '$n/stream/download?bytes=1000000000'"
    fi
    echo
    echo "Ctrl-C stops them.  From here on, their error logs:"
    echo
}

follow() {
    local server
    for server in nginx apache; do
        tail -n 0 -s 0.2 -F "$run/$server-error.log" 2> /dev/null \
            {lock}>&- > >(exec sed -u "s/^/$server: /" {lock}>&-) &
        tail_pids+=($!)
    done
}

signal() {
    if alive "$2"; then
        kill "-$1" "$2" 2> /dev/null || true
    fi
}

# First gracefully: the application ends as it would at a reload.
stop() {
    trap 'signal TERM "$nginx_pid"; signal TERM "$apache_pid"' INT TERM HUP
    signal QUIT "$nginx_pid"
    signal WINCH "$apache_pid"
    local deadline=$((SECONDS + 8)) rest=KILL
    while alive "$nginx_pid" || alive "$apache_pid"; do
        if ((SECONDS >= deadline)); then
            if [[ $rest == none ]]; then
                break
            fi
            signal TERM "$nginx_pid"
            signal TERM "$apache_pid"
            rest=none
            deadline=$((SECONDS + 5))
        fi
        sleep 0.1
    done
    signal KILL "$nginx_pid"
    signal KILL "$apache_pid"
    ((${#tail_pids[@]} == 0)) || kill "${tail_pids[@]}" 2> /dev/null || true
    wait
}

main() {
    [[ -f $root/examples/$example/nginx.conf ]] \
        || fail "EXAMPLE=$example is not one of examples/"
    check_ports
    user=$(worker_user)
    mkdir -p "$run"
    exec {lock}> "$run/lock"
    flock -n "$lock" || fail "it is running already, from this directory"
    make_state
    make_sites
    write_conf

    trap stop EXIT
    trap 'echo; exit 0' INT TERM HUP
    start
    local at
    read -r -a at <<< "$(paths)"
    wait_for nginx "http://127.0.0.1:$nginx_port${at[0]}"
    wait_for apache "http://127.0.0.1:$apache_port${at[1]}"
    tell "${at[@]}"
    follow
    while sleep 0.5; do
        check_servers || exit 1
    done
}

main
