# Sourced by the scripts of this folder: where the programs are, a folder of its own, checks, the end.
#
#   BIN=build tests/dev/NAME.sh        BIN is the build folder (default: build)
#
# Every script makes its own cluster in its own folder, and ends only that.

set -u
cd "$(dirname "$0")/../.." || exit 1
BIN=$(realpath "${BIN:-build}") || exit 1
[ -x "$BIN/picket" ] || { echo "there is no $BIN/picket; build first, or set BIN" >&2; exit 1; }
TMP=$(mktemp -d /tmp/pkt.XXXXXX) || exit 1
D=$TMP/d
export PICKET_DEV_DIR=$D HOME=$TMP
unset KUBECONFIG PICKET_CONFIG PICKETCONFIG PICKET_ADDRESS_MAP
failures=0

cleanup() {
    "$BIN/picket" dev down >/dev/null 2>&1
    if [ "$failures" -eq 0 ] && [ "${KEEP:-}" = "" ]; then
        rm -rf "$TMP"
    else
        echo "kept: $TMP (logs: PICKET_DEV_DIR=$D $BIN/picket dev logs)"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

p() {
    timeout "${T:-60}" "$BIN/picket" "$@"
}

say() {
    echo "== $*"
}

fail() {
    echo "FAIL: $*" >&2
    failures=$((failures + 1))
}

# check TEXT COMMAND...: the command has to succeed
check() {
    text=$1
    shift
    if "$@" >"$TMP/out" 2>&1; then
        echo "ok    $text"
    else
        fail "$text: $* (exit code $?)"
        sed 's/^/      /' "$TMP/out" >&2
    fi
}

# code N TEXT COMMAND...: the command has to end with this exit code
code() {
    want=$1
    text=$2
    shift 2
    "$@" >"$TMP/out" 2>&1
    got=$?
    if [ "$got" -eq "$want" ]; then
        echo "ok    $text"
    else
        fail "$text: exit code $got, not $want: $*"
        sed 's/^/      /' "$TMP/out" >&2
    fi
}

# has PATTERN TEXT: the last output contains it
has() {
    if grep -q -- "$1" "$TMP/out"; then
        echo "ok    $2"
    else
        fail "$2: no \"$1\" in"
        sed 's/^/      /' "$TMP/out" >&2
    fi
}

# until_true SECONDS TEXT COMMAND...: again and again until it succeeds
until_true() {
    left=$(($1 * 5))
    text=$2
    shift 2
    while ! "$@" >"$TMP/out" 2>&1; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            fail "$text: never true: $*"
            sed 's/^/      /' "$TMP/out" >&2
            return 1
        fi
        sleep 0.2
    done
    echo "ok    $text"
}

finish() {
    if [ "$failures" -gt 0 ]; then
        echo "$failures failed"
        exit 1
    fi
    echo "all passed"
}
