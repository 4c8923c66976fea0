#!/bin/bash
# `make lab-smoke` for a machine that nobody prepared (.ci/run).  Looks first whether this machine can run the lab at
# all; where it cannot, a line that begins with SKIPPED says what is missing, and the exit status is 0, since that is
# not the change's fault.  With LAB_REQUIRED=1 it is a failure.  Whatever fails from there on is a failure.
# The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 2

skip() {
    echo "SKIPPED: lab-smoke: $*"
    if [ -n "${LAB_REQUIRED:-}" ]; then
        echo "LAB_REQUIRED is set, so this is a failure"
        echo "0 passed, 1 failed"
        exit 1
    fi
    echo "0 passed, 0 failed"
    exit 0
}

# What is not there is fetched; what Debian's own packages do is not looked into here.
packages() {
    local log
    log=$(mktemp)
    if ! tests/lab/deps.sh >"$log" 2>&1; then
        sed 's/^/    | /' "$log"
        rm -f "$log"
        skip "Debian packages that the lab needs are not here and could not be installed"
    fi
    cat "$log"
    rm -f "$log"
    apt-cache depends linux-image-amd64 2>/dev/null | grep -q 'Depends: linux-image-[0-9]' || apt-get update -qq ||
        skip "apt knows no kernel (linux-image-amd64), and apt-get update fails"
}

# A network namespace with a bridge and a tap device, as the lab makes them: containers often may not.
network() {
    local ns=picket-probe-$$ why
    if [ ! -e /dev/net/tun ]; then
        { modprobe tun || { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; }; } >/dev/null 2>&1
        [ -e /dev/net/tun ] || skip "there is no /dev/net/tun and it cannot be made (kernel module tun)"
    fi
    why=$({ ip netns add "$ns" && ip -n "$ns" link set lo up && ip -n "$ns" link add b0 type bridge &&
        ip -n "$ns" tuntap add t0 mode tap && ip -n "$ns" link set t0 master b0 up; } 2>&1)
    local rc=$?
    ip netns del "$ns" 2>/dev/null
    [ $rc = 0 ] || skip "no network namespace with bridge and tap device can be made here ($why): needs CAP_SYS_ADMIN and CAP_NET_ADMIN"
}

room() { # FOLDER MIB: of the file system that it will be on
    local d=$1 have
    until [ -d "$d" ]; do d=$(dirname "$d"); done
    have=$(df -Pm "$d" | awk 'NR == 2 { print $4 }')
    [ "$have" -ge "$2" ] || skip "$1 has room for $have MiB, the lab needs $2 MiB"
}

[ "$(uname -m)" = x86_64 ] || skip "this is not x86-64: its hosts are emulated with x86-64 programs of this machine"
[ "$(id -u)" = 0 ] || skip "not root: it makes network namespaces and tap devices"
have=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
[ "$have" -ge 3500 ] || skip "$have MiB of memory are free, two emulated hosts need 3500 MiB"
room "${LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/picket-lab}" 3000
room "${LAB_RUN:-/var/tmp/picket-lab}" 1500
packages
network

# One at a time on this machine: two labs of one name would take each other down.
exec 8>"${TMPDIR:-/tmp}/picket-lab-ci.lock"
flock -w 1800 8 || { echo "another lab-smoke has run for half an hour"; echo "0 passed, 1 failed"; exit 1; }
export LAB=${LAB:-ci}
make -s -j2 WERROR=1 lab-smoke 8>&-
