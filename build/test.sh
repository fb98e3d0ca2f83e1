#!/bin/bash
# Usage: test.sh all | lint | STEP...
#
# Runs the tests, the quick ones first, and closes with how many passed and
# failed.  Every step is a function step_NAME.  FUZZ_SECONDS is how long each
# fuzz target runs.

set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1

out=$root/build/out
go=$root/build/go.sh
export FUZZ_SECONDS=${FUZZ_SECONDS:-5}
PATH=$("$go" env GOROOT)/bin:$PATH:/usr/sbin:/sbin || exit 1
export PATH

staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.1
# what a person installs who installs Go today
newest=go1.27.0
# numbers of HTTP statuses are as good as their names
checks=(-checks "inherit,-ST1013")

examples=(./hello ./guestbook ./stream ./showcase)

lint=(format style vet staticcheck tidy darwin warnings)
tests=(nocgo oldest newest arm64 c go race fuzz examples packages install run
    readme parity e2e asan)

sanitize=(-fsanitize=address,undefined -fno-sanitize-recover=undefined
    -fno-omit-frame-pointer)
# of the tests through the servers, what the sanitizers see in make test
reduced=(BodiesReadInPart BodiesNotRead BodiesOnRequest BodiesThatEndEarly
    PipelinedRequests Panics ErrAbortHandler BodyThatYieldsAnError BadHeaders
    ContentLengthThatIsWrong ClientsThatLeave RequestsArriveAsInNetHTTP HEAD
    ResponsesInShort ResponseHeaders Flush SubrequestsInNGINX
    InternalRedirectsInApache Leaks)

passed=0 failed=0 skipped=0
failures=()

# One check that is no go test.
check() {
    local name=$1 begin=$SECONDS
    shift
    if "$@" > "$out/test.log" 2>&1; then
        printf 'ok\t%s\t%ds\n' "$name" $((SECONDS - begin))
        passed=$((passed + 1))
        return
    fi
    cat "$out/test.log"
    printf 'FAIL\t%s\t%ds\n' "$name" $((SECONDS - begin))
    failed=$((failed + 1))
    failures+=("$name")
}

# go test in directory $1 with the rest as arguments.
go_test() {
    local dir=$1 p=0 f=1 s=0
    shift
    rm -f "$out/test.counts"
    (cd "$dir" && "$go" test -json "$@" 2>&1) \
        | awk -v counts="$out/test.counts" -f build/gotest.awk
    read -r p f s < "$out/test.counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if ((f > 0)); then
        failures+=("go test $* in ${dir#"$root"}")
    fi
}

in_dir() {
    local dir=$1
    shift
    (cd "$dir" && "$@")
}

nothing() {
    local text
    if ! text=$("$@") || [[ -n $text ]]; then
        echo "$text"
        return 1
    fi
}

gofmt() {
    "$("$go" env GOROOT)/bin/gofmt" -l build/bench cshim examples goapp module
}

step_format() {
    check gofmt nothing gofmt
}

step_style() {
    check style build/style.sh
}

step_vet() {
    check 'go vet' "$go" vet ./...
    check 'go vet, examples' in_dir examples "$go" vet -tags soak ./...
}

step_staticcheck() {
    check staticcheck "$go" run $staticcheck "${checks[@]}" ./...
    check 'staticcheck, examples' in_dir examples "$go" run $staticcheck -tags soak "${checks[@]}" ./...
}

step_tidy() {
    check 'go mod tidy' nothing "$go" mod tidy -diff
    check 'go mod tidy, examples' in_dir examples nothing "$go" mod tidy -diff
}

step_darwin() {
    GOOS=darwin check 'go vet for darwin' "$go" vet ./goapp/... ./module/...
}

step_warnings() {
    check 'warnings of the C compiler' build/warnings.sh
}

step_nocgo() {
    CGO_ENABLED=0 check 'build without cgo' "$go" build ./goapp/... ./module/...
    CGO_ENABLED=0 check 'examples without cgo' in_dir examples \
        "$go" build -o "$out/standalone/" "${examples[@]}"
    CGO_ENABLED=0 go_test . ./goapp/... ./module/...
}

# The Go that go.mod names, which may have to be fetched.
step_oldest() {
    local version
    version=go$(sed -n 's/^go //p' go.mod)
    GOTOOLCHAIN=$version check "build with $version" "$go" build ./...
    GOTOOLCHAIN=$version check "vet with $version" "$go" vet ./...
}

# Inside the servers, too: the library is built by it.
step_newest() {
    GOTOOLCHAIN=$newest check "vet with $newest" "$go" vet ./...
    GOTOOLCHAIN=$newest go_test . ./module/... ./goapp/...
    GOTOOLCHAIN=$newest go_test examples -timeout 10m \
        -run '^(TestServerStartsWithoutItsApplication|TestCrashes)$' ./e2e
}

step_arm64() {
    export GOARCH=arm64
    CGO_ENABLED=0 check 'build for arm64 without cgo' \
        "$go" build ./goapp/... ./module/...
    CGO_ENABLED=1 CC=aarch64-linux-gnu-gcc \
        check 'application library for arm64' in_dir examples \
        "$go" build -buildmode=c-shared -o "$out/arm64/hello.so" ./hello
    unset GOARCH
    CC=aarch64-linux-gnu-gcc check 'host half for arm64' build/warnings.sh host
}

step_c() {
    local dir
    for dir in cshim/host/test cshim/host/test_loader; do
        check "$dir" make -C "$dir" check
        check "$dir with sanitizers" make -C "$dir" check-asan
    done
    check 'cshim/host/test with ThreadSanitizer' make -C cshim/host/test check-tsan
}

step_go() {
    go_test . -timeout 5m ./...
}

step_race() {
    go_test . -race -timeout 5m ./module/... ./goapp/... ./cshim/bridgetest/...
}

# Before 1.27 the end of -fuzztime was taken for a failure now and then
# (golang/go, issue 75804).
step_fuzz() {
    local package targets target
    for package in $("$go" list ./...); do
        targets=$("$go" test -list '^Fuzz' "$package" | grep '^Fuzz')
        for target in $targets; do
            GOTOOLCHAIN=$newest check "$target" \
                "$go" test -run '^$' -fuzz "^$target\$" \
                -fuzztime "${FUZZ_SECONDS}s" "$package"
        done
    done
    for dir in cshim/host/test cshim/host/test_loader; do
        check "$dir fuzz" make -C "$dir" fuzz
    done
}

step_examples() {
    local packages
    packages=$(cd examples && "$go" list ./... | grep -v '/examples/\(e2e\|parity\)')
    # shellcheck disable=SC2086 # a list
    go_test examples $packages
}

step_packages() {
    check 'installation of packages' timeout 300 build/test-packages.sh
}

step_install() {
    check 'make install' timeout 300 build/test-install.sh
}

step_run() {
    check 'make run' timeout 300 build/test-run.sh
}

step_readme() {
    check 'what the README says' timeout 300 build/test-readme.sh
}

# The same requests to net/http, NGINX and Apache.
step_parity() {
    go_test examples -timeout 10m ./parity/...
}

# Four servers side by side on two cores: most of it is waiting.
step_e2e() {
    go_test examples -timeout 15m -parallel 4 ./e2e/...
}

# The server modules with sanitizers, and an application library whose cgo is
# checked.  What a sanitizer reports fails the run.
step_asan() {
    check 'modules with sanitizers' build/modules.sh "$out/asan" "${sanitize[@]}"
    sanitized -timeout 5m -parallel 4 -run "^Test($(IFS='|' && echo "${reduced[*]}"))\$" ./e2e
}

# go test in examples, with these modules.
sanitized() {
    GSGI_SANITIZERS=yes GSGI_GOEXPERIMENT=cgocheck2 \
        GSGI_NGINX_MODULE=$out/asan/ngx_http_gsgi_module.so \
        GSGI_APACHE_MODULE=$out/asan/mod_gsgi.so go_test examples "$@"
}

close() {
    local f
    echo
    for f in "${failures[@]}"; do
        echo "failed: $f"
    done
    if ((skipped > 0)); then
        echo "$skipped skipped"
    fi
    echo "$passed passed, $failed failed"
    ((failed == 0))
}

main() {
    local steps step
    case $* in
    all) steps=("${lint[@]}" "${tests[@]}") ;;
    lint) steps=("${lint[@]}") ;;
    *) steps=("$@") ;;
    esac
    mkdir -p "$out"
    for step in "${steps[@]}"; do
        echo "== $step"
        "step_$step"
    done
    close
}

main "$@"
