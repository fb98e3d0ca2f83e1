# Reads the events of go test -json: prints what failed, with its output, and
# the closing line of every package; writes the sums to the file in counts.

function field(name,    at, rest) {
    at = index($0, "\"" name "\":\"")
    if (at == 0) {
        return ""
    }
    rest = substr($0, at + length(name) + 4)
    if (match(rest, /^([^"\\]|\\.)*/)) {
        return plain(substr(rest, 1, RLENGTH))
    }
    return ""
}

function plain(s) {
    gsub(/\\\\/, "\001", s)
    gsub(/\\n/, "\n", s)
    gsub(/\\t/, "\t", s)
    gsub(/\\"/, "\"", s)
    gsub(/\\u003c/, "<", s)
    gsub(/\\u003e/, ">", s)
    gsub(/\\u0026/, "\\&", s)
    gsub("\001", "\\", s)
    return s
}

function forget(prefix,    k) {
    for (k in output) {
        if (index(k, prefix) == 1) {
            delete output[k]
        }
    }
}

!/^\{/ { print; next }

{
    action = field("Action")
    package = field("Package")
    test = field("Test")
    key = package SUBSEP test SUBSEP
}

action == "build-output" { printf "%s", field("Output") }

action == "output" && test != "" {
    output[key] = output[key] field("Output")
}

action == "output" && test == "" {
    line = field("Output")
    if (line ~ /^(ok|FAIL|---|panic|exit|\?)[ \t]/ && line !~ /no test files/) {
        printf "%s", line
    } else if (line !~ /^(PASS|FAIL|testing: )/ && line !~ /^(coverage|\?|ok)/) {
        output[key] = output[key] line
    }
}

test != "" && action == "pass" { passed++; delete output[key] }

test != "" && action == "skip" {
    skipped++
    printf "%s", output[key]
    delete output[key]
}

test != "" && action == "fail" {
    failed++
    broken[package] = 1
    printf "%s", output[key]
    delete output[key]
}

# A package may fail as a whole: it does not build, TestMain or a crash.
test == "" && action == "fail" {
    if (!(package in broken)) {
        failed++
    }
    printf "%s", output[key]
    for (k in output) {
        if (index(k, package SUBSEP) == 1 && k != key) {
            printf "%s", output[k]
        }
    }
    forget(package SUBSEP)
}

test == "" && action == "pass" { forget(package SUBSEP) }

{ fflush() }

END { print passed + 0, failed + 0, skipped + 0 > counts }
