#!/bin/sh
# The Debian packages that building, testing and the demo need.  Installs those that are missing.
#   deps.sh        install what is missing (root, or sudo without a password)
#   deps.sh -n     only name what is missing; exit 1 if anything is
set -eu

packages='build-essential pkg-config libuv1-dev libraft-dev liblz4-dev libmsgpack-dev libjansson-dev
libyaml-dev libssl-dev libsnmp-dev libiscsi-dev tgt libmnl-dev node-llhttp libcmocka-dev python3 curl snmp procps iproute2
clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev fence-agents ipmitool openipmi openssl libxen-dev'

missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "${1:-}" = -n ]; then
    echo "missing:$missing"
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    run=
elif sudo -n true 2>/dev/null; then
    run=sudo
else
    echo "These packages are missing; install them as root and try again:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi
echo "installing:$missing"
$run apt-get update -qq
# shellcheck disable=SC2086
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
