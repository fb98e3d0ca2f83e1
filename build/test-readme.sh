#!/bin/bash
# Does what README.md says, with its own words: from an empty folder to a
# build, a load in both servers, and the deployment of a second version.

. "$(dirname "$0")/test-lib.sh"

nginx_port=$(free_port)
apache_port=$(free_port)
n=http://127.0.0.1:$nginx_port
a=http://127.0.0.1:$apache_port
site=$tmp/site

# Usage: block HEADING LANGUAGE: the first such block under the heading, with
# the places of this test.
block() {
    awk -v heading="$1" -v fence="\`\`\`$2" '
        /^#/ && !inside { here = index($0, heading) > 0 }
        /^```$/ { inside = 0; if (found) exit }
        inside && found { print }
        /^```./ { inside = 1 }
        here && $0 == fence { found = 1 }
    ' "$root/README.md" | sed \
        -e "s|\.\./gsgi|$root|; s|/srv/site|$tmp/srv|" \
        -e "s|listen 8080|listen 127.0.0.1:$nginx_port|" \
        -e "s|\*:80|127.0.0.1:$apache_port|" > "$tmp/block"
    [[ -s $tmp/block ]] || fail "README.md has no block of $2 under $1"
    cat "$tmp/block"
}

# Runs shell commands of the README in the folder of the program.
run() {
    say "$1"
    (cd "$site" && bash -eu -c "$1") > "$tmp/run.log" 2>&1
}

tools() {
    mkdir "$tmp/bin"
    ln -s "$("$root/build/go.sh" env GOROOT)/bin/go" "$tmp/bin/go"
    cat > "$tmp/bin/systemctl" << END
#!/bin/sh
kill -HUP \$(cat $tmp/nginx.pid)
kill -USR1 \$(cat $tmp/apache.pid)
END
    chmod 755 "$tmp/bin/systemctl"
    PATH=$tmp/bin:$PATH
}

write_conf() {
    local group
    group=$(id -gn www-data)
    cat > "$tmp/nginx.conf" << END
load_module $out/ngx_http_gsgi_module.so;
$(root_only echo "user www-data;")
worker_processes 2;
daemon off;
pid $tmp/nginx.pid;
error_log $tmp/nginx.log notice;
events {}
http {
    access_log off;
    client_body_temp_path $tmp/body;
    proxy_temp_path $tmp/proxy;
    fastcgi_temp_path $tmp/fastcgi;
    uwsgi_temp_path $tmp/uwsgi;
    scgi_temp_path $tmp/scgi;
$(block 'In your NGINX' nginx)
}
END
    cat > "$tmp/apache.conf" << END
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule gsgi_module $out/mod_gsgi.so
$(root_only printf 'User www-data\nGroup %s' "$group")
ServerName localhost
Listen 127.0.0.1:$apache_port
PidFile $tmp/apache.pid
DefaultRuntimeDir $tmp
ErrorLog $tmp/apache.log
$(block 'In your Apache' apache)
END
}

check() {
    nginx -t -e "$tmp/nginx.log" -c "$tmp/nginx.conf" > "$tmp/check.log" 2>&1 \
        && apache2 -t -f "$tmp/apache.conf" >> "$tmp/check.log" 2>&1
}

# Asks both servers without a pause; every answer must be of a version.
hammer() {
    while :; do
        curl -s -f -m 20 "$n/" "$a/site/" || echo "failed: $?"
    done > "$tmp/answers.txt"
}

tools
mkdir "$site"
block 'Your program' go > "$site/main.go"
(($(wc -l < "$site/main.go") == 12)) || fail "the program has not 12 lines"
run "$(block 'Your program' sh)"
run "$(block 'Load it' sh)"

write_conf
check || fail "the configuration is refused"
nginx -e "$tmp/nginx.log" -c "$tmp/nginx.conf" &
pids+=($!)
apache2 -f "$tmp/apache.conf" -DFOREGROUND &
pids+=($!)
want 'Hello, version 1' "$n/"
want 'Hello, version 1' "$a/site/"

say "a second version"
hammer &
hammer=$!
pids+=("$hammer")
sed -i 's/version 1/version 2/' "$site/main.go"
run "$(block 'Deploy a new version' sh)"
want 'Hello, version 2' "$n/"
want 'Hello, version 2' "$a/site/"
sleep 1
kill "$hammer"
if grep -vqx 'Hello, version [12]' "$tmp/answers.txt"; then
    fail "a request was lost: $(grep -vx 'Hello, version [12]' \
        "$tmp/answers.txt" | head -n 3)"
fi
grep -q 'version 1' "$tmp/answers.txt" || fail "no request met the reload"

say "a version that does not start replaces nothing"
sed -i 's/http.HandleFunc/panic("not today"); http.HandleFunc/' \
    "$site/main.go"
run "$(block 'Deploy a new version' sh)"
if check; then
    fail "nginx -t accepts a program that panics"
fi
grep -q 'not today' "$tmp/check.log" || fail "nginx -t does not say why"
sleep 2
want 'Hello, version 2' "$n/"
want 'Hello, version 2' "$a/site/"
